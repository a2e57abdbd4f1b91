//! The JSON of Hugging Face directories, in its older and its current form.

use std::path::Path;

use kvdepot_codec::Rope;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::rope::{self, RopeFields};
use super::{Architecture, Biases, MaxContext};
use crate::{Error, Result};

/// Largest configuration file that is read.
const MAX_CONFIG_BYTES: u64 = 16 << 20;

/// Fields of `config.json`; a default is that of the transformers library for all four architectures.
#[derive(Debug, Deserialize)]
pub(super) struct HfConfig {
    #[serde(default)]
    architectures: Vec<String>,
    pub(super) hidden_size: usize,
    pub(super) intermediate_size: usize,
    pub(super) num_hidden_layers: usize,
    pub(super) num_attention_heads: usize,
    pub(super) num_key_value_heads: Option<usize>,
    pub(super) head_dim: Option<usize>,
    pub(super) vocab_size: usize,
    max_position_embeddings: usize,
    #[serde(default = "default_eps")]
    pub(super) rms_norm_eps: f32,
    #[serde(default = "default_activation")]
    hidden_act: String,
    #[serde(default)]
    pub(super) tie_word_embeddings: bool,
    #[serde(default)]
    attention_bias: bool,
    #[serde(default)]
    mlp_bias: bool,
    rope_theta: Option<f64>,
    rope_scaling: Option<RopeFields>,
    rope_parameters: Option<RopeFields>,
    partial_rotary_factor: Option<f64>,
    sliding_window: Option<usize>,
    #[serde(default)]
    use_sliding_window: bool,
    #[serde(default = "default_max_window_layers")]
    max_window_layers: usize,
    layer_types: Option<Vec<String>>,
    pub(super) bos_token_id: Option<u32>,
    pub(super) eos_token_id: Option<TokenIds>,
}

/// Fields of `generation_config.json`, which override those of `config.json`.
#[derive(Debug, Default, Deserialize)]
pub(super) struct GenerationConfig {
    pub(super) bos_token_id: Option<u32>,
    pub(super) eos_token_id: Option<TokenIds>,
}

/// One token or several.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum TokenIds {
    One(u32),
    Many(Vec<u32>),
}

impl TokenIds {
    pub(super) fn list(&self) -> Vec<u32> {
        match self {
            Self::One(id) => vec![*id],
            Self::Many(ids) => ids.clone(),
        }
    }
}

impl HfConfig {
    pub(super) fn read(path: &Path) -> Result<Self> {
        read_json(path)
    }

    pub(super) fn architecture(&self) -> Result<Architecture> {
        let known = |name: &String| Architecture::ALL.into_iter().find(|a| a.name() == name);
        self.architectures.iter().find_map(known).ok_or_else(|| {
            let supported = Architecture::ALL.map(Architecture::name).join(", ");
            Error::Incompatible(format!(
                "config.json: unsupported architecture {:?}: this engine computes {supported}",
                self.architectures
            ))
        })
    }

    pub(super) fn check_activation(&self) -> Result<()> {
        match self.hidden_act.as_str() {
            "silu" | "swish" => Ok(()),
            other => Err(Error::Incompatible(format!("config.json: unsupported hidden_act {other:?}: only silu"))),
        }
    }

    /// RoPE from `rope_parameters` (current form) or from `rope_theta` and `rope_scaling` (older form).
    pub(super) fn rope(&self) -> Result<Rope> {
        if let Some(factor) = self.partial_rotary_factor.filter(|&factor| factor != 1.0) {
            return Err(Error::Incompatible(format!(
                "config.json: unsupported partial_rotary_factor {factor}: only 1"
            )));
        }
        let fields = self.rope_parameters.as_ref().or(self.rope_scaling.as_ref());
        rope::rope(self.rope_theta, fields, self.max_position_embeddings)
    }

    pub(super) fn biases(&self, architecture: Architecture) -> Biases {
        match architecture {
            Architecture::Llama => Biases { qkv: self.attention_bias, out: self.attention_bias, mlp: self.mlp_bias },
            Architecture::Mistral => Biases { qkv: false, out: false, mlp: false },
            Architecture::Qwen2 => Biases { qkv: true, out: false, mlp: false },
            Architecture::Qwen3 => Biases { qkv: self.attention_bias, out: self.attention_bias, mlp: false },
        }
    }

    /// Positions of the model, or its sliding window where that is smaller and some layer uses it.
    pub(super) fn max_context(&self, architecture: Architecture) -> MaxContext {
        let positions = self.max_position_embeddings;
        match self.sliding_window.filter(|_| self.window_is_active(architecture)) {
            Some(window) if window < positions => MaxContext { num_tokens: window, by_sliding_window: true },
            _ => MaxContext { num_tokens: positions, by_sliding_window: false },
        }
    }

    fn window_is_active(&self, architecture: Architecture) -> bool {
        let some_layer_slides = match &self.layer_types {
            Some(types) => types.iter().any(|kind| kind == "sliding_attention"),
            None => self.max_window_layers < self.num_hidden_layers,
        };
        match architecture {
            Architecture::Llama => false,
            Architecture::Mistral => true,
            Architecture::Qwen2 | Architecture::Qwen3 => self.use_sliding_window && some_layer_slides,
        }
    }
}

impl GenerationConfig {
    pub(super) fn read_if_present(path: &Path) -> Result<Self> {
        match read_json(path) {
            Err(Error::NotFound(_)) => Ok(Self::default()),
            read => read,
        }
    }
}

/// Reads a small JSON file.
///
/// # Errors
/// `NotFound`, `Unavailable`, and `Corrupt` where it is too large or not the JSON that `T` expects.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let num_bytes = std::fs::metadata(path).map_err(Error::io(path))?.len();
    if num_bytes > MAX_CONFIG_BYTES {
        let path = path.display();
        return Err(Error::Corrupt(format!("{path}: {num_bytes} bytes where at most {MAX_CONFIG_BYTES} are expected")));
    }
    let bytes = std::fs::read(path).map_err(Error::io(path))?;
    serde_json::from_slice(&bytes).map_err(|error| Error::Corrupt(format!("{}: {error}", path.display())))
}

fn default_eps() -> f32 {
    1e-6
}

fn default_max_window_layers() -> usize {
    28
}

fn default_activation() -> String {
    "silu".to_owned()
}
