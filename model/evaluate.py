#!/usr/bin/env python3
"""Measure a model directory on the held-out corpus and on register retrieval.

    python evaluate.py [DIR] [--lengths 1024 2048 3584] [--windows 16] [--f32]

Prints, for each length, nats per token, perplexity and the part of answer digits that are right. Deterministic.
"""
import argparse
import math
import random

import numpy as np
import torch
import torch.nn.functional as F

import tasks
from network import CausalLm, autocast


def heldout_loss(network, heldout, length, device, windows):
    """Mean nats per token over the first `windows` windows of `length` tokens, each read from its own start."""
    windows, total = min(windows, (len(heldout) - 1) // length), 0.0
    for i in range(windows):
        x = torch.tensor(heldout[i * length:(i + 1) * length + 1].astype(np.int64), device=device)[None]
        total += F.cross_entropy(network(x[:, :-1]).float()[0], x[0, 1:]).item()
    return total / windows


def retrieval(network, tok, length, device, sequences=4):
    """Part of the answer digits of register sequences that the network ranks first, given those before."""
    rng, right, asked = random.Random(1), 0, 0
    for _ in range(sequences):
        ids, weights = tasks.registers(tok, length + 1, rng)
        x, answer = torch.tensor(ids, device=device)[None], torch.tensor(weights, device=device)[1:] == tasks.ANSWER
        guess = network(x[:, :-1])[0].argmax(-1)
        right += (guess == x[0, 1:])[answer].sum().item()
        asked += answer.sum().item()
    return right / asked


def evaluate(network, tok, heldout, length, device, windows=16, f32=False):
    """(held-out nats per token, retrieval accuracy) at `length` tokens, in bf16 autocast or `f32` as in training."""
    network.eval()
    with torch.no_grad(), autocast(device, f32):
        result = heldout_loss(network, heldout, length, device, windows), retrieval(network, tok, length, device)
    network.train()
    return result


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("directory", nargs="?", default=tasks.HERE)
    p.add_argument("--lengths", type=int, nargs="+", default=[1024, 2048, 3584])
    p.add_argument("--windows", type=int, default=16)
    p.add_argument("--device", default="cpu")
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--f32", action="store_true", help="compute in f32, which is faster on a CPU without bf16 instructions")
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    tok, network = tasks.tokenizer(), CausalLm.read(a.directory).to(a.device)
    heldout = tasks.corpus(tok, "heldout")
    for length in a.lengths:
        loss, accuracy = evaluate(network, tok, heldout, length, a.device, a.windows, a.f32)
        print(f"{length} tokens: {loss:.4f} nats per token, perplexity {math.exp(loss):.2f}, retrieval {accuracy:.4f}", flush=True)


if __name__ == "__main__":
    main()
