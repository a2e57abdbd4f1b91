"""What all engines run: a decode over one prefix, and a batch of groups."""

import json
import random

DECODE = {"prefix": 4096, "requests": 32, "tokens": 32}
BATCH = {"prefix": 2000, "distinct": 200, "tokens": 100, "degree": 16}


def decode_prompts(vocab, requests):
    """Prompts of one prefix and one token of their own."""
    rng = random.Random(1)
    prefix = [rng.randrange(1, vocab) for _ in range(DECODE["prefix"])]
    return [prefix + [rng.randrange(1, vocab)] for _ in range(requests)]


def batch_prompts(vocab, groups):
    """Prompts of groups that share prefixes, sorted."""
    rng = random.Random(2)
    tokens = lambda count: [rng.randrange(1, vocab) for _ in range(count)]
    prefixes = [tokens(BATCH["prefix"]) for _ in range(groups)]
    return sorted(prefix + tokens(BATCH["distinct"]) for prefix in prefixes for _ in range(BATCH["degree"]))


def batch_file(vocab, groups):
    """The same prompts, shuffled, as lines of OpenAI's Batch API."""
    prompts = batch_prompts(vocab, groups)
    random.Random(3).shuffle(prompts)
    for idx, prompt in enumerate(prompts):
        body = {"model": "peer", "prompt": prompt, "max_tokens": BATCH["tokens"], "temperature": 0}
        yield json.dumps({"custom_id": f"r{idx}", "method": "POST", "url": "/v1/completions", "body": body})
