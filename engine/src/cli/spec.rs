//! What makes a model's KV interchangeable with KV from elsewhere.

use anyhow::{Context, Result};
use kvdepot_engine::{MaxContext, Model, RopeScaling, TextCodec};
use kvdepot_proto::{KvSpec, Rope};

/// The identity of the KV that `model` computes.
pub(super) fn of(model: &Model, text_codec: Option<&TextCodec>, name: String) -> Result<KvSpec> {
    let config = model.config();
    Ok(KvSpec {
        model: name,
        weights_digest: model.digest().0,
        tokenizer_digest: text_codec.map(TextCodec::digest),
        adapter: String::new(),
        geometry: config.geometry(model.precision())?,
        rope: rope(config.rope),
        sliding_window: window(config.max_context)?,
    })
}

fn rope(rope: kvdepot_engine::Rope) -> Rope {
    let (kind, parameters) = match rope.scaling {
        RopeScaling::None => ("default", vec![]),
        RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } => (
            "llama3",
            vec![
                ("factor", factor),
                ("high_freq_factor", high_freq_factor),
                ("low_freq_factor", low_freq_factor),
                ("original_max_position_embeddings", original_context),
            ],
        ),
    };
    let parameters = parameters.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Rope { kind: kind.to_owned(), theta: rope.theta, parameters }
}

fn window(limit: MaxContext) -> Result<Option<u32>> {
    if !limit.by_sliding_window {
        return Ok(None);
    }
    Ok(Some(u32::try_from(limit.num_tokens).context("the sliding window is too long")?))
}
