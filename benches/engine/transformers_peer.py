"""Hugging Face transformers: the model's directory. The cache of the prefix is expanded to the batch. Prints one line.

It has no batch of requests that share prefixes, and so no time for one.
"""

import copy
import json
import pathlib
import sys
import time

import torch
from transformers import AutoModelForCausalLM, DynamicCache

import workload

model_dir = sys.argv[1]
vocab = json.loads((pathlib.Path(model_dir) / "config.json").read_text())["vocab_size"]
model = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.bfloat16).eval()
# The cache of twice as many does not fit beside the other engines' needs.
REQUESTS = 16
STEPS = 8


@torch.inference_mode()
def prefill(tokens):
    """Cache of a prompt, 512 tokens at a time."""
    cache = DynamicCache(config=model.config)
    for start in range(0, len(tokens), 512):
        model(torch.tensor([tokens[start : start + 512]]), past_key_values=cache, logits_to_keep=1)
    return cache


@torch.inference_mode()
def decode_rate(cache, requests):
    """Tokens per second of `requests` greedy continuations of one cache."""
    cache = copy.deepcopy(cache)
    cache.batch_repeat_interleave(requests)
    last = torch.arange(1, requests + 1).unsqueeze(1)
    started = time.perf_counter()
    for _ in range(STEPS):
        last = model(last, past_key_values=cache).logits[:, -1:].argmax(-1)
    return requests * STEPS / (time.perf_counter() - started)


prefix = workload.decode_prompts(vocab, 1)[0][:-1]
started = time.perf_counter()
prefill(prefix[:512])
row = {"engine": "transformers", "mode": f"{REQUESTS} requests", "prefill": 512 / (time.perf_counter() - started)}
cache = prefill(prefix)
row["single"] = decode_rate(cache, 1)
row["decode"] = decode_rate(cache, REQUESTS)
print(json.dumps(row))
