"""llama.cpp: arguments are llama-batched-bench, the GGUF, the groups of the batch and the threads. Prints one line per mode."""

import json
import subprocess
import sys

import workload

program, model, groups, threads = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
MODES = [["-fa", fa, *kvu] for fa in ("on", "off") for kvu in ([], ["-kvu"])]


def bench(mode, prefix, tokens, requests):
    """Rates of prefill and decode, and the seconds of both, of requests over one prefix."""
    unified = "-kvu" in mode
    context = (prefix + requests * tokens if unified else requests * (prefix + tokens)) + 64 * requests
    args = ["-m", model, "-t", threads, "-tb", threads, "-pps", *mode, "-c", context, "-b", 2048, "-ub", 512]
    args += ["-npp", prefix, "-ntg", tokens, "-npl", requests, "--output-format", "jsonl"]
    done = subprocess.run([program, *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode != 0 or not lines:
        tail = done.stdout.strip().splitlines()[-1:] or ["no output"]
        raise RuntimeError(f"exit {done.returncode}: {tail[0]}")
    return json.loads(lines[-1])


def batch_secs(mode):
    """Seconds of the whole batch, group by group: distinct parts at the rate of the group's prefill, which flatters it."""
    of = workload.BATCH
    context = of["prefix"] + of["distinct"]
    group = bench(mode, context, of["tokens"], of["degree"])
    return groups * (group["t_pp"] + (of["degree"] - 1) * of["distinct"] / group["speed_pp"] + group["t_tg"])


rows = []
for mode in MODES:
    row = {"engine": "llama.cpp", "mode": " ".join(mode), "decode": 0}
    try:
        shared = bench(mode, workload.DECODE["prefix"], workload.DECODE["tokens"], workload.DECODE["requests"])
        row["decode"] = shared["speed_tg"]
    except RuntimeError as error:
        row["failed"] = str(error)
    rows.append((mode, row))
mode, best = max(rows, key=lambda row: row[1]["decode"])
if best["decode"]:
    best["prefill"] = bench(mode, 512, workload.DECODE["tokens"], 1)["speed_pp"]
    best["single"] = bench(mode, workload.DECODE["prefix"], workload.DECODE["tokens"], 1)["speed_tg"]
    best["batch_secs"] = batch_secs(mode)
for _, row in rows:
    print(json.dumps(row))
