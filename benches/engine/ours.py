"""kvdepot-engine: arguments are its program, the model's directory, the groups of the batch and a scratch directory."""

import json
import pathlib
import subprocess
import sys

import workload

program, model, groups, scratch = sys.argv[1], sys.argv[2], int(sys.argv[3]), pathlib.Path(sys.argv[4])


def run(*args):
    done = subprocess.run([program, *map(str, args), "--model", model, "--json"], stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


decode = {f"--{name}": count for name, count in workload.DECODE.items()}
bench = run("bench", "decode", "--suffix", 1, *[word for pair in decode.items() for word in pair])
vocab = json.loads((pathlib.Path(model) / "config.json").read_text())["vocab_size"]
batch, results = scratch / "batch.jsonl", scratch / "results.jsonl"
batch.write_text("\n".join(workload.batch_file(vocab, groups)) + "\n")
results.unlink(missing_ok=True)
report = run("batch", "--input", batch, "--output", results)
print(json.dumps({
    "engine": "kvdepot-engine",
    "mode": "shared",
    "decode": bench["decode_tokens_per_sec_shared"],
    "single": bench["decode_tokens_per_sec_single"],
    "prefill": bench["prefill_tokens_per_sec"],
    "batch_secs": report["elapsed_secs"],
    "bench": bench,
}))
