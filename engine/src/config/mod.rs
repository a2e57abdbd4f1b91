//! Shape of a model, from a Hugging Face directory's `config.json` and `generation_config.json`.
//!
//! Owns every question of the form "does this build compute that model": what it does not, it refuses by name.

pub(crate) use hf::read_json;

mod hf;
mod rope;
#[cfg(test)]
mod tests;

use std::path::Path;

use kvdepot_codec::{Geometry, Rope};

use crate::{Error, Precision, Result};
use hf::{GenerationConfig, HfConfig};

/// Model families whose forward pass this engine computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    /// `LlamaForCausalLM`
    Llama,
    /// `MistralForCausalLM`
    Mistral,
    /// `Qwen2ForCausalLM`
    Qwen2,
    /// `Qwen3ForCausalLM`
    Qwen3,
}

impl Architecture {
    const ALL: [Self; 4] = [Self::Llama, Self::Mistral, Self::Qwen2, Self::Qwen3];

    /// The class name in `architectures`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Llama => "LlamaForCausalLM",
            Self::Mistral => "MistralForCausalLM",
            Self::Qwen2 => "Qwen2ForCausalLM",
            Self::Qwen3 => "Qwen3ForCausalLM",
        }
    }
}

/// Which projections add a bias.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Biases {
    /// Queries, keys and values.
    pub qkv: bool,
    /// The attention's output.
    pub out: bool,
    /// Gate, up and down.
    pub mlp: bool,
}

/// Everything but the weights that decides what a model computes.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// Family.
    pub architecture: Architecture,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the MLP.
    pub intermediate_size: usize,
    /// Layers.
    pub num_layers: usize,
    /// Query heads.
    pub num_q_heads: usize,
    /// Key and value heads; divides `num_q_heads`.
    pub num_kv_heads: usize,
    /// Elements per head; even.
    pub head_dim: usize,
    /// Vocabulary.
    pub vocab_size: usize,
    /// Added to the mean square in norms.
    pub rms_norm_eps: f32,
    /// Rotary position embedding.
    pub rope: Rope,
    /// Projections with a bias.
    pub biases: Biases,
    /// Whether queries and keys are normalised per head (Qwen3).
    pub qk_norm: bool,
    /// Whether the embedding is also the output head.
    pub tied_head: bool,
    /// Longest context whose attention is exact here.
    pub max_context: MaxContext,
    /// Token that begins a text.
    pub bos_token: Option<u32>,
    /// Tokens that end one.
    pub eos_tokens: Vec<u32>,
}

/// Longest context, and what limits it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaxContext {
    /// Tokens.
    pub num_tokens: usize,
    /// Whether a sliding window, rather than the positions of the model, sets it. Attention within a window is not
    /// computed; up to the window's length it is the same as full attention.
    pub by_sliding_window: bool,
}

impl ModelConfig {
    /// Reads `config.json` and, where there is one, `generation_config.json`.
    ///
    /// # Errors
    /// `NotFound` without a `config.json`, `Corrupt` where it is not JSON or contradicts itself, `Incompatible` for an
    /// architecture, activation or RoPE kind that this engine does not compute.
    pub fn open(dir: &Path) -> Result<Self> {
        let config = HfConfig::read(&dir.join("config.json"))?;
        let generation = GenerationConfig::read_if_present(&dir.join("generation_config.json"))?;
        Self::new(&config, &generation)
    }

    fn new(config: &HfConfig, generation: &GenerationConfig) -> Result<Self> {
        let architecture = config.architecture()?;
        let num_q_heads = config.num_attention_heads;
        let head_dim = match (config.head_dim, architecture) {
            (Some(head_dim), _) => head_dim,
            (None, Architecture::Qwen3) => 128,
            (None, _) => config.hidden_size / num_q_heads.max(1),
        };
        let model = Self {
            architecture,
            hidden_size: config.hidden_size,
            intermediate_size: config.intermediate_size,
            num_layers: config.num_hidden_layers,
            num_q_heads,
            num_kv_heads: config.num_key_value_heads.unwrap_or(num_q_heads),
            head_dim,
            vocab_size: config.vocab_size,
            rms_norm_eps: config.rms_norm_eps,
            rope: config.rope()?,
            biases: config.biases(architecture),
            qk_norm: architecture == Architecture::Qwen3,
            tied_head: config.tie_word_embeddings,
            max_context: config.max_context(architecture),
            bos_token: generation.bos_token_id.or(config.bos_token_id),
            eos_tokens: generation
                .eos_token_id
                .as_ref()
                .or(config.eos_token_id.as_ref())
                .map_or(vec![], |ids| ids.list()),
        };
        config.check_activation()?;
        model.check()
    }

    /// Shape of the KV cache at `precision`.
    ///
    /// # Errors
    /// `Invalid` when the model is beyond the limits of [`Geometry`].
    pub fn geometry(&self, precision: Precision) -> Result<Geometry> {
        let narrow = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let (layers, heads) = (narrow(self.num_layers), narrow(self.num_kv_heads));
        Ok(Geometry::new(layers, heads, narrow(self.head_dim), precision.dtype())?)
    }

    /// Query heads that share one KV head.
    pub const fn group_size(&self) -> usize {
        self.num_q_heads / self.num_kv_heads
    }

    /// Width of all queries of a token.
    pub const fn q_width(&self) -> usize {
        self.num_q_heads * self.head_dim
    }

    /// Width of all keys, or of all values, of a token.
    pub const fn kv_width(&self) -> usize {
        self.num_kv_heads * self.head_dim
    }

    /// Refuses shapes that cannot be, so that products of the fields fit `usize` and no division is by zero.
    fn check(self) -> Result<Self> {
        const LIMIT: usize = 1 << 24;
        for (name, value) in [
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("vocab_size", self.vocab_size),
            ("max_position_embeddings", self.max_context.num_tokens),
        ] {
            if value == 0 || value > LIMIT {
                return Err(Error::Corrupt(format!("config.json: {name} {value} is outside 1..={LIMIT}")));
            }
        }
        self.geometry(Precision::F32).map_err(|error| Error::Corrupt(format!("config.json: {error}")))?;
        let (q, kv) = (self.num_q_heads, self.num_kv_heads);
        if q == 0 || q > 1024 || q % kv != 0 {
            return Err(Error::Corrupt(format!("config.json: {q} query heads over {kv} key and value heads")));
        }
        if !self.head_dim.is_multiple_of(2) {
            return Err(Error::Corrupt(format!("config.json: head_dim {} is odd", self.head_dim)));
        }
        Ok(self)
    }
}
