"""vLLM on CPU: arguments are the model's directory and the groups of the batch. Prints one line."""

import json
import pathlib
import sys
import time

from vllm import LLM, SamplingParams

import workload

model, groups = sys.argv[1], int(sys.argv[2])
vocab = json.loads((pathlib.Path(model) / "config.json").read_text())["vocab_size"]
engine = LLM(model, dtype="bfloat16", skip_tokenizer_init=True, enable_prefix_caching=True, max_model_len=8192,
             max_num_seqs=64, disable_log_stats=True)


def seconds(prompts, tokens):
    """Seconds in which all prompts get `tokens` tokens each."""
    sampling = SamplingParams(temperature=0, max_tokens=tokens, min_tokens=tokens, ignore_eos=True, detokenize=False)
    started = time.perf_counter()
    engine.generate([{"prompt_token_ids": prompt} for prompt in prompts], sampling, use_tqdm=False)
    return time.perf_counter() - started


def decode_rate(prompts):
    """Tokens per second of all prompts together, with their KV in the cache of prefixes."""
    tokens = workload.DECODE["tokens"]
    seconds(prompts, 1)
    first = seconds(prompts, 1)
    return len(prompts) * (tokens - 1) / (seconds(prompts, tokens) - first)


prompts = workload.decode_prompts(vocab, workload.DECODE["requests"])
row = {"engine": "vLLM", "mode": "prefix caching", "prefill": 512 / seconds([prompts[0][:512]], 1)}
row["decode"] = decode_rate(prompts)
row["single"] = decode_rate(prompts[:1])
row["batch_secs"] = seconds(workload.batch_prompts(vocab, groups), workload.BATCH["tokens"])
print("\n" + json.dumps(row))
