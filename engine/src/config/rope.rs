//! Rotary position embedding, as Hugging Face configurations write it.

use kvdepot_codec::{Rope, RopeScaling};
use serde::Deserialize;

use crate::{Error, Result};

/// Base of the frequencies where a configuration names none.
const DEFAULT_THETA: f64 = 10_000.0;

/// `rope_scaling` or `rope_parameters`.
#[derive(Debug, Deserialize)]
pub(super) struct RopeFields {
    rope_type: Option<String>,
    /// The older name of `rope_type`; both may be there.
    #[serde(rename = "type")]
    old_type: Option<String>,
    /// RoPE of some layers only.
    full_attention: Option<serde::de::IgnoredAny>,
    rope_theta: Option<f64>,
    factor: Option<f64>,
    low_freq_factor: Option<f64>,
    high_freq_factor: Option<f64>,
    original_max_position_embeddings: Option<f64>,
    partial_rotary_factor: Option<f64>,
}

/// RoPE of a model. `theta` is the older form's own field; `fields` may hold another.
pub(super) fn rope(theta: Option<f64>, fields: Option<&RopeFields>, max_positions: usize) -> Result<Rope> {
    let theta = fields.and_then(|fields| fields.rope_theta).or(theta).unwrap_or(DEFAULT_THETA);
    if !(theta.is_finite() && theta > 0.0) {
        return Err(Error::Corrupt(format!("config.json: rope_theta {theta} is not a positive number")));
    }
    let scaling = fields.map_or(Ok(RopeScaling::None), |fields| fields.scaling(max_positions))?;
    Ok(Rope { theta, scaling })
}

impl RopeFields {
    fn scaling(&self, max_positions: usize) -> Result<RopeScaling> {
        if let Some(factor) = self.partial_rotary_factor.filter(|&factor| factor != 1.0) {
            return Err(Error::Incompatible(format!(
                "config.json: unsupported partial_rotary_factor {factor}: only 1"
            )));
        }
        if self.full_attention.is_some() {
            return Err(Error::Incompatible("config.json: unsupported RoPE that differs between layers".to_owned()));
        }
        match self.rope_type.as_deref().or(self.old_type.as_deref()) {
            None | Some("default") => Ok(RopeScaling::None),
            Some("llama3") => self.llama3(max_positions),
            Some(other) => Err(Error::Incompatible(format!(
                "config.json: unsupported RoPE kind {other:?}: this engine computes default and llama3"
            ))),
        }
    }

    fn llama3(&self, max_positions: usize) -> Result<RopeScaling> {
        let positive = |name: &str, value: Option<f64>| {
            value.filter(|value| value.is_finite() && *value > 0.0).ok_or_else(|| {
                Error::Corrupt(format!(
                    "config.json: RoPE kind llama3 with {name} {value:?}: a positive number is needed"
                ))
            })
        };
        let original = self.original_max_position_embeddings.or(Some(max_positions as f64));
        let low_freq_factor = positive("low_freq_factor", self.low_freq_factor)?;
        let high_freq_factor = positive("high_freq_factor", self.high_freq_factor)?;
        if high_freq_factor <= low_freq_factor {
            return Err(Error::Corrupt(format!(
                "config.json: high_freq_factor {high_freq_factor} is not above low_freq_factor {low_freq_factor}"
            )));
        }
        Ok(RopeScaling::Llama3 {
            factor: positive("factor", self.factor)?,
            low_freq_factor,
            high_freq_factor,
            original_context: positive("original_max_position_embeddings", original)?,
        })
    }
}
