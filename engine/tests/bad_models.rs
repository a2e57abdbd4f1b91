//! Promise: a model directory that is not whole, not sound or not of a known kind is refused with the reason.
#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod common;

use std::path::{Path, PathBuf};

use common::checkpoints;
use kvdepot_engine::{ErrorKind, Model};
use serde_json::{Value, json};
use tempfile::TempDir;

fn named(name: &str) -> PathBuf {
    checkpoints().into_iter().find(|dir| dir.ends_with(name)).unwrap()
}

fn copy_of(name: &str) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(named(name)).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
    }
    copy
}

fn with_config(name: &str, field: &str, value: Value) -> TempDir {
    let copy = copy_of(name);
    let path = copy.path().join("config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    config[field] = value;
    std::fs::write(&path, config.to_string()).unwrap();
    copy
}

#[track_caller]
fn assert_refused(dir: &Path, kind: ErrorKind, words: &str) {
    let error = Model::load(dir, None).unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(words), "{error}");
}

#[test]
fn every_checkpoint_loads_as_it_is() {
    for dir in checkpoints() {
        Model::load(&dir, None).unwrap();
    }
}

#[test]
fn missing_files_are_named() {
    assert_refused(Path::new("no/such/model"), ErrorKind::NotFound, "no/such/model/config.json does not exist");
    let no_weights = copy_of("mistral");
    std::fs::remove_file(no_weights.path().join("model.safetensors")).unwrap();
    assert_refused(no_weights.path(), ErrorKind::NotFound, "neither model.safetensors nor");
    let half = copy_of("qwen3");
    std::fs::remove_file(half.path().join("model-00002-of-00002.safetensors")).unwrap();
    assert_refused(half.path(), ErrorKind::NotFound, "model-00002-of-00002.safetensors does not exist");
}

#[test]
fn truncated_weights_are_refused() {
    let copy = copy_of("mistral");
    let path = copy.path().join("model.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 100]).unwrap();
    assert_refused(copy.path(), ErrorKind::Corrupt, &format!("the header promises {}", bytes.len()));
}

#[test]
fn a_tensor_of_another_shape_is_named_with_both_shapes() {
    let dir = with_config("mistral", "intermediate_size", json!(80));
    let words = "tensor model.layers.0.mlp.gate_proj.weight has shape [64, 48] where the model needs [80, 48]";
    assert_refused(dir.path(), ErrorKind::Corrupt, words);
}

#[test]
fn a_missing_tensor_is_named() {
    let untied = with_config("qwen2", "tie_word_embeddings", json!(false));
    assert_refused(untied.path(), ErrorKind::Corrupt, "tensor lm_head.weight is missing from");
    let deeper = with_config("mistral", "num_hidden_layers", json!(3));
    assert_refused(deeper.path(), ErrorKind::Corrupt, "tensor model.layers.2.");
}

#[test]
fn unknown_kinds_are_named() {
    let gpt = with_config("mistral", "architectures", json!(["GPT2LMHeadModel"]));
    assert_refused(gpt.path(), ErrorKind::Incompatible, "unsupported architecture [\"GPT2LMHeadModel\"]");
    let yarn = with_config("mistral", "rope_parameters", json!({"rope_type": "yarn", "rope_theta": 1e4}));
    assert_refused(yarn.path(), ErrorKind::Incompatible, "unsupported RoPE kind \"yarn\"");
}

#[test]
fn a_config_that_is_no_json_is_refused() {
    let copy = copy_of("mistral");
    std::fs::write(copy.path().join("config.json"), "{").unwrap();
    assert_refused(copy.path(), ErrorKind::Corrupt, "config.json: EOF");
}
