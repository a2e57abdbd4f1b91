//! Models of a named shape with random weights: how fast a model is does not depend on what it says.

mod args;
mod shape;
mod tokenizer;
mod weights;

use std::path::Path;

use kvdepot_client::files;
use serde_json::{Value, json};

pub(in crate::cli) use args::CheckpointArgs;
use shape::Shape;
pub(super) use shape::ShapeArg;

/// Writes a Hugging Face directory of a shape: weights in bf16 from a fixed seed, and a tokenizer of as many tokens.
pub(super) fn write(shape: &Shape, dir: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(dir).map_err(files::unwritable(dir))?;
    weights::write(shape, &dir.join("model.safetensors"))?;
    let tokenizer_config = json!({"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": tokenizer::END});
    for (name, content) in [
        ("tokenizer.json", tokenizer::json(shape.vocab_size)),
        ("tokenizer_config.json", tokenizer_config),
        ("config.json", shape.config()),
    ] {
        write_json(&dir.join(name), &content)?;
    }
    Ok(())
}

fn write_json(path: &Path, content: &Value) -> anyhow::Result<()> {
    let bytes = serde_json::to_vec(content)?;
    files::write_whole(path, |part| std::fs::write(part, &bytes).map_err(files::unwritable(path)))?;
    Ok(())
}
