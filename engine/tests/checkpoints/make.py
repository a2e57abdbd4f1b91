#!/usr/bin/env python3
"""Make the random checkpoints beside this file, with references by Hugging Face transformers in f32.

    python make.py            write every checkpoint
    python make.py --verify   load what is there and compare it with its references

Each directory holds config.json, safetensors weights and reference.json: three prompts of 5, 20 and 100 tokens with
`prompt`, `greedy` (16 ids), `smallest_top2_gap` (logits, over the greedy steps) and `last_logits` (after the prompt,
5 decimals). Seeds are tried from 0 until every greedy step has a clear winner and none is the end token, so the same
versions of torch and transformers give the same files. Needs torch, transformers, safetensors.
"""
import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config

HERE = Path(__file__).resolve().parent
PROMPT_TOKENS, GREEDY_TOKENS, MIN_GAP = (5, 20, 100), 16, 0.01
EOS = 1
COMMON = dict(bos_token_id=0, eos_token_id=EOS, max_position_embeddings=256, hidden_act="silu")
# Wavelengths up to 8 tokens keep their frequency, those from 32 on are divided by the factor, the rest is interpolated:
# with 8 pairs of dimensions each case occurs, and the 100-token prompt shows the difference.
LLAMA3_ROPE = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                   original_max_position_embeddings=32)


def bf16(_name):
    return torch.bfloat16


def f32(_name):
    return torch.float32


def f32_norms(name):
    """bf16 matrices and f32 norms, in one file."""
    return torch.float32 if "norm" in name else torch.bfloat16


# name -> (config, dtype of each stored tensor, number of safetensors files)
CHECKPOINTS = {
    "llama-rope-parameters": (LlamaConfig(
        hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        vocab_size=160, rms_norm_eps=1e-5, tie_word_embeddings=False,
        rope_parameters=dict(rope_theta=10000.0, **LLAMA3_ROPE), **COMMON), bf16, 1),
    "llama-rope-scaling-legacy": (LlamaConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=2, num_key_value_heads=1,
        vocab_size=96, rms_norm_eps=1e-5, tie_word_embeddings=True,
        rope_parameters=dict(rope_theta=20000.0, **LLAMA3_ROPE), **COMMON), f32, 1),
    "mistral": (MistralConfig(
        hidden_size=48, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        head_dim=16, vocab_size=128, rms_norm_eps=1e-5, tie_word_embeddings=False, sliding_window=None,
        rope_parameters=dict(rope_type="default", rope_theta=50000.0), **COMMON), f32_norms, 1),
    "qwen2": (Qwen2Config(
        hidden_size=48, intermediate_size=64, num_hidden_layers=2, num_attention_heads=6, num_key_value_heads=2,
        vocab_size=96, rms_norm_eps=1e-6, tie_word_embeddings=True, use_sliding_window=False,
        rope_parameters=dict(rope_type="default", rope_theta=1000000.0), **COMMON), f32, 1),
    "qwen3": (Qwen3Config(
        hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
        head_dim=16, vocab_size=96, rms_norm_eps=1e-6, tie_word_embeddings=False, use_sliding_window=False,
        rope_parameters=dict(rope_type="default", rope_theta=1000000.0), **COMMON), f32, 2),
}


def random_weight(name, shape, generator):
    """Norms around one, biases around zero, embeddings small and projections strong, so that layers matter."""
    x = torch.randn(shape, generator=generator)
    if "norm" in name:
        return 1 + 0.2 * x
    if name.endswith("bias") or "embed" in name:
        return 0.5 * x
    return 1.5 * x / shape[-1] ** 0.5


def random_weights(config, dtype_of, seed):
    """Every parameter by its Hugging Face name, in the dtype it is stored in; a tied head is left out."""
    generator = torch.Generator().manual_seed(seed)
    parameters = AutoModelForCausalLM.from_config(config).named_parameters()
    return {name: random_weight(name, p.shape, generator).to(dtype_of(name)) for name, p in parameters}


def write_weights(directory, weights, num_files):
    """One model.safetensors, or `num_files` shards with their index."""
    for old in directory.glob("model*.safetensors*"):
        old.unlink()
    if num_files == 1:
        save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
        return
    names, weight_map = sorted(weights), {}
    for i in range(num_files):
        file = f"model-{i + 1:05}-of-{num_files:05}.safetensors"
        shard = {name: weights[name] for name in names[i::num_files]}
        save_file(shard, directory / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(shard, file)
    total = sum(w.nbytes for w in weights.values())
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")


def legacy(config):
    """The form of transformers 4: `rope_theta` at the top, the scaling in `rope_scaling`, `torch_dtype`."""
    rope = config.pop("rope_parameters")
    del config["head_dim"]
    return config | {"rope_theta": rope.pop("rope_theta"), "rope_scaling": rope, "torch_dtype": config.pop("dtype")}


def write_config(directory, config, dtype_of):
    architecture = AutoModelForCausalLM.from_config(config).__class__.__name__
    stored = "float32" if dtype_of is f32 else "bfloat16"
    stated = config.to_diff_dict() | {"architectures": [architecture], "dtype": stored}
    if directory.name.endswith("legacy"):
        stated = legacy(stated)
    (directory / "config.json").write_text(json.dumps(dict(sorted(stated.items())), indent=2) + "\n")


def greedy(model, prompt):
    """(greedy ids, smallest gap between the two best logits, logits after the prompt), one full pass per token."""
    ids, gaps, first = list(prompt), [], None
    for _ in range(GREEDY_TOKENS):
        logits = model(torch.tensor([ids]), use_cache=False).logits[0, -1]
        first = logits if first is None else first
        best, second = logits.topk(2).values.tolist()
        gaps.append(best - second)
        ids.append(int(logits.argmax()))
    return ids[len(prompt):], min(gaps), [round(x, 5) for x in first.tolist()]


def references(directory, seed):
    """What transformers gives in f32 for three random prompts on the checkpoint as it lies on disk."""
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
    generator, made = torch.Generator().manual_seed(1000 + seed), []
    for tokens in PROMPT_TOKENS:
        prompt = torch.randint(2, model.config.vocab_size, (tokens,), generator=generator).tolist()
        ids, gap, logits = greedy(model, prompt)
        made.append({"prompt": prompt, "greedy": ids, "smallest_top2_gap": round(gap, 4), "last_logits": logits})
    return made


def make(name):
    config, dtype_of, num_files = CHECKPOINTS[name]
    directory = HERE / name
    directory.mkdir(exist_ok=True)
    write_config(directory, config, dtype_of)
    for seed in range(200):
        write_weights(directory, random_weights(config, dtype_of, seed), num_files)
        made = references(directory, seed)
        if all(r["smallest_top2_gap"] > MIN_GAP and EOS not in r["greedy"] for r in made):
            (directory / "reference.json").write_text(json.dumps(made) + "\n")
            print(f"{name}: seed {seed}, gaps {[r['smallest_top2_gap'] for r in made]}")
            return
    raise SystemExit(f"{name}: no seed gives a gap above {MIN_GAP}")


def verify(name):
    model = AutoModelForCausalLM.from_pretrained(HERE / name, dtype=torch.float32).eval()
    for r in json.loads((HERE / name / "reference.json").read_text()):
        ids, _, logits = greedy(model, r["prompt"])
        difference = max(abs(a - b) for a, b in zip(logits, r["last_logits"], strict=True))
        print(f"{name}: {len(r['prompt'])} tokens, greedy {'same' if ids == r['greedy'] else 'DIFFERS'}, logits within {difference:.1e}")
        if ids != r["greedy"] or difference > 1e-4:
            raise SystemExit(1)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--verify", action="store_true")
    each = verify if p.parse_args().verify else make
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    for name in CHECKPOINTS:
        each(name)


if __name__ == "__main__":
    main()
