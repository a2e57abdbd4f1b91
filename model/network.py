"""The network: a Llama decoder in plain PyTorch whose parameters carry their Hugging Face names.

Owns the architecture and the directory format (config.json, model.safetensors in bf16). Knows nothing of data or training.
"""
import json
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn as nn
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

ROPE_THETA, NORM_EPS = 50000.0, 1e-5
MAX_POSITIONS = 4096
REPEAT_SCALE = 0.5  # what a repeated layer first adds to the residual stream, relative to its original


@dataclass(frozen=True)
class Shape:
    """Dimensions of the network; the defaults are the bundled model's."""

    vocab: int = 2048
    layers: int = 6
    hidden: int = 256
    mlp: int = 704
    q_heads: int = 4
    kv_heads: int = 2
    head_dim: int = 64

    @classmethod
    def read(cls, directory):
        """The shape that `directory`/config.json states."""
        c = json.loads(Path(directory, "config.json").read_text())
        return cls(c["vocab_size"], c["num_hidden_layers"], c["hidden_size"], c["intermediate_size"],
                   c["num_attention_heads"], c["num_key_value_heads"], c["head_dim"])

    def config(self):
        """The Hugging Face config of this shape."""
        return dict(
            architectures=["LlamaForCausalLM"], model_type="llama", hidden_size=self.hidden, intermediate_size=self.mlp,
            num_hidden_layers=self.layers, num_attention_heads=self.q_heads, num_key_value_heads=self.kv_heads,
            head_dim=self.head_dim, vocab_size=self.vocab, max_position_embeddings=MAX_POSITIONS, rms_norm_eps=NORM_EPS,
            rope_theta=ROPE_THETA, hidden_act="silu", tie_word_embeddings=True, bos_token_id=0, eos_token_id=0,
            torch_dtype="bfloat16", attention_bias=False, mlp_bias=False)


def autocast(device, f32):
    """bf16 autocast, or none with `f32`."""
    return torch.autocast(device, torch.bfloat16, enabled=not f32)


def linear(inputs, outputs):
    return nn.Linear(inputs, outputs, bias=False)


def rotate(x, cos, sin):
    """Rotate `x`, `[batch, heads, tokens, head_dim]`, by its positions (RoPE, half-split pairs)."""
    a, b = x.chunk(2, -1)
    return x * cos + torch.cat([-b, a], -1) * sin


class RmsNorm(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x):
        return F.rms_norm(x, (x.shape[-1],), self.weight, NORM_EPS)


class Attention(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.shape = shape
        self.q_proj = linear(shape.hidden, shape.q_heads * shape.head_dim)
        self.k_proj = linear(shape.hidden, shape.kv_heads * shape.head_dim)
        self.v_proj = linear(shape.hidden, shape.kv_heads * shape.head_dim)
        self.o_proj = linear(shape.q_heads * shape.head_dim, shape.hidden)

    def forward(self, x, cos, sin):
        batch, tokens, _ = x.shape

        def heads(y):
            return y.view(batch, tokens, -1, self.shape.head_dim).transpose(1, 2)

        q, k, v = rotate(heads(self.q_proj(x)), cos, sin), rotate(heads(self.k_proj(x)), cos, sin), heads(self.v_proj(x))
        group = self.shape.q_heads // self.shape.kv_heads
        k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.o_proj(y.transpose(1, 2).reshape(batch, tokens, -1))


class Mlp(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.gate_proj, self.up_proj = linear(shape.hidden, shape.mlp), linear(shape.hidden, shape.mlp)
        self.down_proj = linear(shape.mlp, shape.hidden)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.input_layernorm, self.post_attention_layernorm = RmsNorm(shape.hidden), RmsNorm(shape.hidden)
        self.self_attn, self.mlp = Attention(shape), Mlp(shape)

    def forward(self, x, cos, sin):
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        return x + self.mlp(self.post_attention_layernorm(x))


class Decoder(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.embed_tokens = nn.Embedding(shape.vocab, shape.hidden)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.norm = RmsNorm(shape.hidden)
        inverse = 1.0 / ROPE_THETA ** (torch.arange(0, shape.head_dim, 2).float() / shape.head_dim)
        angles = torch.outer(torch.arange(MAX_POSITIONS).float(), inverse).repeat(1, 2)
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)

    def forward(self, ids):
        x, tokens = self.embed_tokens(ids), ids.shape[1]
        dtype = torch.bfloat16 if torch.is_autocast_enabled(x.device.type) else x.dtype
        cos, sin = self.cos[:tokens].to(dtype), self.sin[:tokens].to(dtype)
        for layer in self.layers:
            x = layer(x, cos, sin)
        return self.norm(x)


class CausalLm(nn.Module):
    """`forward`: token ids `[batch, tokens]` to logits `[batch, tokens, vocab]`; the head is the embedding."""

    def __init__(self, shape):
        super().__init__()
        self.shape = shape
        self.model = Decoder(shape)
        for name, p in self.named_parameters():
            if p.dim() == 2:
                nn.init.normal_(p, std=initial_std(name, p.shape[1], shape.layers))

    def forward(self, ids):
        return F.linear(self.model(ids), self.model.embed_tokens.weight)

    def deepen(self, copies):
        """Run the whole stack of layers `copies` times, the repeats scaled down (depth up-scaling, Kim et al., 2023)."""
        repeats = [deepcopy(layer) for _ in range(copies - 1) for layer in self.model.layers]
        with torch.no_grad():
            for layer in repeats:
                layer.self_attn.o_proj.weight.mul_(REPEAT_SCALE)
                layer.mlp.down_proj.weight.mul_(REPEAT_SCALE)
        self.model.layers.extend(repeats)
        self.shape = replace(self.shape, layers=len(self.model.layers))

    def save(self, directory):
        """Write config.json and model.safetensors (bf16)."""
        Path(directory).mkdir(parents=True, exist_ok=True)
        tensors = {k: v.detach().to("cpu", torch.bfloat16).contiguous() for k, v in self.state_dict().items()}
        save_file(tensors, f"{directory}/model.safetensors", metadata={"format": "pt"})
        Path(directory, "config.json").write_text(json.dumps(self.shape.config(), indent=2))

    @classmethod
    def read(cls, directory):
        """The network saved in `directory`, widened to f32."""
        network = cls(Shape.read(directory))
        network.load_state_dict(load_file(f"{directory}/model.safetensors"))
        return network


def initial_std(name, inputs, layers):
    """Unit-variance projections; those that write to the residual stream shrink with depth (GPT-2, section 2.3)."""
    if "embed" in name:
        return 0.02
    writes_residual = name.endswith(("o_proj.weight", "down_proj.weight"))
    return inputs ** -0.5 * ((2 * layers) ** -0.5 if writes_residual else 1)
