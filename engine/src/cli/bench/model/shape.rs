//! Shapes that benchmarks know by name, and their configurations.

use serde_json::{Value, json};

/// A shape on the command line.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(in crate::cli::bench) enum ShapeArg {
    /// 28 layers, 16 query and 8 KV heads of 128, 596 million parameters
    #[value(name = "qwen3-0.6b")]
    Qwen3,
    /// 16 layers, 32 query and 8 KV heads of 64, 1.2 billion parameters
    #[value(name = "llama-3.2-1b")]
    Llama,
    /// Two small layers, to try the command
    Tiny,
}

/// Shape of a model whose head is its embedding.
#[derive(Debug)]
pub(in crate::cli::bench) struct Shape {
    pub(super) architecture: &'static str,
    model_type: &'static str,
    pub(super) num_layers: usize,
    pub(super) hidden_size: usize,
    pub(super) intermediate_size: usize,
    pub(super) num_q_heads: usize,
    pub(super) num_kv_heads: usize,
    pub(super) head_dim: usize,
    pub(super) vocab_size: usize,
    /// Whether queries and keys are normalised per head.
    pub(super) qk_norm: bool,
}

const QWEN3: Shape = Shape {
    architecture: "Qwen3ForCausalLM",
    model_type: "qwen3",
    num_layers: 28,
    hidden_size: 1024,
    intermediate_size: 3072,
    num_q_heads: 16,
    num_kv_heads: 8,
    head_dim: 128,
    vocab_size: 151_936,
    qk_norm: true,
};

const LLAMA: Shape = Shape {
    architecture: "LlamaForCausalLM",
    model_type: "llama",
    num_layers: 16,
    hidden_size: 2048,
    intermediate_size: 8192,
    num_q_heads: 32,
    num_kv_heads: 8,
    head_dim: 64,
    vocab_size: 128_256,
    qk_norm: false,
};

const TINY: Shape = Shape {
    num_layers: 2,
    hidden_size: 64,
    intermediate_size: 96,
    num_q_heads: 4,
    num_kv_heads: 2,
    head_dim: 16,
    vocab_size: 512,
    ..QWEN3
};

impl ShapeArg {
    pub(in crate::cli::bench) const fn shape(self) -> &'static Shape {
        match self {
            Self::Qwen3 => &QWEN3,
            Self::Llama => &LLAMA,
            Self::Tiny => &TINY,
        }
    }
}

impl Shape {
    /// Names and shapes of the tensors.
    pub(super) fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let mut tensors = vec![
            ("model.embed_tokens.weight".to_owned(), vec![self.vocab_size, self.hidden_size]),
            ("model.norm.weight".to_owned(), vec![self.hidden_size]),
        ];
        for layer in 0..self.num_layers {
            let named = |(name, shape)| (format!("model.layers.{layer}.{name}.weight"), shape);
            tensors.extend(self.layer_tensors().into_iter().map(named));
        }
        tensors
    }

    fn layer_tensors(&self) -> Vec<(&'static str, Vec<usize>)> {
        let (hidden, mlp) = (self.hidden_size, self.intermediate_size);
        let (q, kv) = (self.num_q_heads * self.head_dim, self.num_kv_heads * self.head_dim);
        let mut tensors = vec![
            ("input_layernorm", vec![hidden]),
            ("self_attn.q_proj", vec![q, hidden]),
            ("self_attn.k_proj", vec![kv, hidden]),
            ("self_attn.v_proj", vec![kv, hidden]),
            ("self_attn.o_proj", vec![hidden, q]),
            ("post_attention_layernorm", vec![hidden]),
            ("mlp.gate_proj", vec![mlp, hidden]),
            ("mlp.up_proj", vec![mlp, hidden]),
            ("mlp.down_proj", vec![hidden, mlp]),
        ];
        if self.qk_norm {
            tensors.extend(["self_attn.q_norm", "self_attn.k_norm"].map(|name| (name, vec![self.head_dim])));
        }
        tensors
    }

    pub(in crate::cli::bench) fn num_parameters(&self) -> usize {
        self.tensors().iter().map(|(_, shape)| shape.iter().product::<usize>()).sum()
    }

    /// Bytes of the weights in bf16.
    pub(in crate::cli::bench) fn weight_bytes(&self) -> usize {
        self.num_parameters() * size_of::<u16>()
    }

    /// `config.json`.
    pub(super) fn config(&self) -> Value {
        let mut config = json!({
            "architectures": [self.architecture],
            "model_type": self.model_type,
            "torch_dtype": "bfloat16",
            "num_hidden_layers": self.num_layers,
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_attention_heads": self.num_q_heads,
            "num_key_value_heads": self.num_kv_heads,
            "head_dim": self.head_dim,
            "vocab_size": self.vocab_size,
            "hidden_act": "silu",
            "rms_norm_eps": 1e-6,
            "rope_theta": 1_000_000.0,
            "max_position_embeddings": 40_960,
            "tie_word_embeddings": true,
            "attention_bias": false,
            "eos_token_id": 0,
        });
        if self.model_type == "llama" {
            config["rope_theta"] = json!(500_000.0);
            config["max_position_embeddings"] = json!(131_072);
            config["rope_scaling"] = json!({
                "rope_type": "llama3",
                "factor": 32.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 8192,
            });
        }
        config
    }
}
