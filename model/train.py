#!/usr/bin/env python3
"""Train the small Llama-architecture model that demos, tests and quality curves use.

    python train.py --out OUT [--init DIR [--copies 2]] [--device cpu|cuda] [--minutes 60 | --steps N] [--context 1024] ...

Writes a Hugging Face directory (config.json, model.safetensors in bf16, tokenizer.json). The data is corpus/*.jsonl.xz and
the synthetic tasks of tasks.py. The length of the sequences grows during training: a quarter, a half, then all of
--context; with --init, which continues from the weights in a directory, the quarter is left out. --copies 2 doubles the
layers of those weights first. With --steps the schedule follows the steps and not the clock, and a run on one thread can be
repeated.

Needs torch, numpy, tokenizers, safetensors.
"""
import argparse
import itertools
import random
import time
from pathlib import Path

import torch
import torch.nn.functional as F

import tasks
from evaluate import evaluate
from muon import Muon
from network import CausalLm, Shape, autocast

MUON_LR, ADAM_LR = 0.02, 3e-3
WARMUP_STEPS, REPORT_STEPS, SAVE_STEPS = 50, 20, 200


def arguments():
    shape = Shape()
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--out", required=True)
    p.add_argument("--init", help="continue from the weights in this directory")
    p.add_argument("--copies", type=int, default=1, help="how many times the layers of --init are stacked")
    p.add_argument("--device", default="cpu")
    p.add_argument("--minutes", type=float, default=60)
    p.add_argument("--steps", type=int, help="train for so many steps, however long they take")
    p.add_argument("--threads", type=int, default=0)
    p.add_argument("--f32", action="store_true", help="compute in f32, which is faster on a CPU without bf16 instructions")
    for name in ("layers", "hidden", "mlp", "q_heads", "kv_heads", "head_dim"):
        p.add_argument("--" + name.replace("_", "-"), type=int, default=getattr(shape, name))
    p.add_argument("--context", type=int, default=1024)
    p.add_argument("--batch-tokens", type=int, default=4096)
    p.add_argument("--lr", type=float, default=1.0, help="multiplies both learning rates")
    p.add_argument("--seed", type=int, default=0)
    a = p.parse_args()
    if a.copies != 1 and not a.init:
        p.error("--copies is of the layers of --init")
    return a


def sequence_length(a, done):
    """Tokens in a sequence once the part `done` of the training time has passed."""
    if done < 0.4 and not a.init:
        return a.context // 4
    return a.context // 2 if done < 0.6 else a.context


def learning_rate(a, done, step):
    """Multiplier of both rates: a short warm-up, flat to the middle, then linear to 2 %."""
    return a.lr * min(1, (step + 1) / WARMUP_STEPS) * (1.0 if done < 0.5 else max(0.02, 2 * (1 - done)))


def optimizers(network):
    """Muon for the matrices of the layers, AdamW for embedding and norms (Jordan et al., 2024)."""
    matrices, others = [], []
    for name, p in network.named_parameters():
        (matrices if p.dim() == 2 and "embed" not in name else others).append(p)
    return [(Muon(matrices, MUON_LR), MUON_LR),
            (torch.optim.AdamW(others, lr=ADAM_LR, betas=(0.9, 0.95), weight_decay=0.0), ADAM_LR)]


class Mixture:
    """Batches of a quarter register sequences, a quarter (later an eighth) repeated ones, the rest documentation."""

    def __init__(self, a, tok):
        self.a, self.tok, self.rng = a, tok, random.Random(a.seed)
        self.ids = tasks.corpus(tok, "train")

    def batch(self, length, done):
        """Ids and weights, each `[sequences, length + 1]`, and how many register and repeated sequences come first."""
        sequences = max(4, self.a.batch_tokens // length)
        num_registers, num_repeated = sequences // 4, sequences // (4 if done < 0.5 else 8)
        tokens = length + 1
        rows = [tasks.registers(self.tok, tokens, self.rng) for _ in range(num_registers)]
        rows += [tasks.repeated(self.tok.get_vocab_size(), tokens, self.rng) for _ in range(num_repeated)]
        rows += [tasks.documentation(self.ids, tokens, self.rng) for _ in range(sequences - len(rows))]
        ids, weights = (torch.tensor(column, device=self.a.device) for column in zip(*rows))
        return ids, weights, num_registers, num_repeated


def loss_per_token(network, ids, device, f32):
    """Cross-entropy, `[sequences, length]`, of each next token."""
    with autocast(device, f32):
        logits = network(ids[:, :-1])
    return F.cross_entropy(logits.float().flatten(0, 1), ids[:, 1:].flatten(), reduction="none").view(len(ids), -1)


def schedule(a):
    """Give the seconds, the steps and the part of the training that have passed, before each step, until all has."""
    start = time.time()
    for step in itertools.count():
        seconds = time.time() - start
        done = step / a.steps if a.steps else seconds / (a.minutes * 60)
        if done >= 1:
            return
        yield seconds, step, done


def train(a, network, tok, heldout):
    mixture, pairs = Mixture(a, tok), optimizers(network)
    for seconds, step, done in schedule(a):
        length, scale = sequence_length(a, done), learning_rate(a, done, step)
        ids, weights, num_registers, num_repeated = mixture.batch(length, done)
        weights = weights[:, 1:]
        loss = loss_per_token(network, ids, a.device, a.f32)
        ((loss * weights).sum() / weights.sum()).backward()
        for optimizer, rate in pairs:
            for group in optimizer.param_groups:
                group["lr"] = rate * scale
            optimizer.step()
            optimizer.zero_grad()
        if (step + 1) % REPORT_STEPS == 0:
            answers = loss[:num_registers][weights[:num_registers] == tasks.ANSWER].mean()
            text = loss[num_registers + num_repeated:].mean()
            print(f"{seconds:6.0f} s  step {step + 1}  length {length}  text {text:.3f}  registers {answers:.3f}", flush=True)
        if (step + 1) % SAVE_STEPS == 0:
            print("held out (loss, retrieval):", evaluate(network, tok, heldout, a.context, a.device, f32=a.f32), flush=True)
            save(network, a.out)


def save(network, directory):
    """Write the network with its tokenizer."""
    network.save(directory)
    Path(directory, "tokenizer.json").write_bytes((tasks.HERE / "tokenizer.json").read_bytes())


def initial(a, shape):
    """The network to start from: the weights of --init, deepened by --copies, or random ones of `shape`."""
    if not a.init:
        return CausalLm(shape)
    network = CausalLm.read(a.init)
    network.deepen(a.copies)
    return network


def main():
    a = arguments()
    if a.threads:
        torch.set_num_threads(a.threads)
    torch.manual_seed(a.seed)
    tok = tasks.tokenizer()
    heldout = tasks.corpus(tok, "heldout")
    shape = Shape(tok.get_vocab_size(), a.layers, a.hidden, a.mlp, a.q_heads, a.kv_heads, a.head_dim)
    network = initial(a, shape).to(a.device)
    print(f"{sum(p.numel() for p in network.parameters()) / 1e6:.2f} M parameters, {len(heldout)} tokens held out", flush=True)
    train(a, network, tok, heldout)
    print("final held out (loss, retrieval):", evaluate(network, tok, heldout, a.context, a.device, 64, a.f32), flush=True)
    save(network, a.out)


if __name__ == "__main__":
    main()
