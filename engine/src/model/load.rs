//! Tensors of a checkpoint to their places in the model.

use std::path::Path;

use super::layer::Layer;
use super::rotary::Rotary;
use super::{Model, RmsNorm};
use crate::config::ModelConfig;
use crate::kv::KvLayout;
use crate::linear::{Linear, Packed};
use crate::meter::Meter;
use crate::simd::Kernels;
use crate::weights::Checkpoint;
use crate::{Precision, Result};

const EMBEDDING: &str = "model.embed_tokens.weight";

pub(super) fn load(dir: &Path, precision: Option<Precision>) -> Result<Model> {
    let config = ModelConfig::open(dir)?;
    let checkpoint = Checkpoint::open(dir)?;
    let precision = match precision {
        Some(precision) => precision,
        None => natural_precision(&checkpoint)?,
    };
    let loader = Loader { config: &config, checkpoint: &checkpoint, kernels: Kernels::best(precision) };
    Ok(Model {
        digest: checkpoint.digest()?,
        layout: KvLayout::new(&config, precision)?,
        embedding: loader.vocabulary(EMBEDDING)?,
        layers: (0..config.num_layers).map(|idx| loader.layer(idx)).collect::<Result<_>>()?,
        norm: loader.norm("model.norm.weight", config.hidden_size)?,
        head: if config.tied_head { None } else { Some(loader.vocabulary("lm_head.weight")?) },
        rotary: Rotary::new(&config),
        meter: Meter::default(),
        kernels: loader.kernels,
        config,
    })
}

/// bf16 where the weights are bf16, f32 otherwise.
fn natural_precision(checkpoint: &Checkpoint) -> Result<Precision> {
    match checkpoint.dtype(EMBEDDING)? {
        Some(kvdepot_codec::Dtype::Bf16) => Ok(Precision::Bf16),
        _ => Ok(Precision::F32),
    }
}

struct Loader<'a> {
    config: &'a ModelConfig,
    checkpoint: &'a Checkpoint,
    kernels: Kernels,
}

impl Loader<'_> {
    fn layer(&self, idx: usize) -> Result<Layer> {
        let (config, prefix) = (self.config, format!("model.layers.{idx}"));
        let (hidden, mlp, biases) = (config.hidden_size, config.intermediate_size, config.biases);
        let (attention, mlp_name) = (format!("{prefix}.self_attn"), format!("{prefix}.mlp"));
        let qkv = [("q_proj", config.q_width()), ("k_proj", config.kv_width()), ("v_proj", config.kv_width())];
        let head_norm = |name: &str| self.norm(&format!("{attention}.{name}.weight"), config.head_dim);
        Ok(Layer {
            idx,
            attention_norm: self.norm(&format!("{prefix}.input_layernorm.weight"), hidden)?,
            qkv: self.linear(&attention, &qkv, hidden, biases.qkv)?,
            qk_norms: if config.qk_norm { Some([head_norm("q_norm")?, head_norm("k_norm")?]) } else { None },
            out: self.linear(&attention, &[("o_proj", hidden)], config.q_width(), biases.out)?,
            mlp_norm: self.norm(&format!("{prefix}.post_attention_layernorm.weight"), hidden)?,
            gate_up: self.linear(&mlp_name, &[("gate_proj", mlp), ("up_proj", mlp)], hidden, biases.mlp)?,
            down: self.linear(&mlp_name, &[("down_proj", hidden)], mlp, biases.mlp)?,
        })
    }

    /// Projections of one input, given by name and width and stacked in that order.
    fn linear(&self, prefix: &str, parts: &[(&str, usize)], inputs: usize, has_bias: bool) -> Result<Linear> {
        let weights: Vec<_> = parts
            .iter()
            .map(|(name, outputs)| self.checkpoint.tensor(&format!("{prefix}.{name}.weight"), &[*outputs, inputs]))
            .collect::<Result<_>>()?;
        let bias = if has_bias { Some(self.stacked_bias(prefix, parts)?) } else { None };
        Ok(Linear { weight: Packed::new(self.kernels, &weights), bias })
    }

    fn stacked_bias(&self, prefix: &str, parts: &[(&str, usize)]) -> Result<Vec<f32>> {
        let mut bias = Vec::new();
        for (name, outputs) in parts {
            bias.extend(self.checkpoint.tensor(&format!("{prefix}.{name}.bias"), &[*outputs])?.to_vector());
        }
        Ok(bias)
    }

    fn norm(&self, name: &str, width: usize) -> Result<RmsNorm> {
        let weight = self.checkpoint.tensor(name, &[width])?.to_vector();
        Ok(RmsNorm { weight, eps: self.config.rms_norm_eps })
    }

    fn vocabulary(&self, name: &str) -> Result<Packed> {
        let tensor = self.checkpoint.tensor(name, &[self.config.vocab_size, self.config.hidden_size])?;
        Ok(Packed::new(self.kernels, &[tensor]))
    }
}
