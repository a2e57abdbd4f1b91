//! Promise: texts become the tokens that the model was trained on, its first token included.
#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod common;

use std::path::Path;

use common::bundled;
use kvdepot_engine::{ErrorKind, ModelConfig, TextCodec};
use serde_json::{Value, json};

fn open(dir: &Path) -> TextCodec {
    TextCodec::open(dir, &ModelConfig::open(&bundled()).unwrap()).unwrap()
}

/// The bundled tokenizer with changes to `tokenizer.json` and with a `tokenizer_config.json`.
fn begins(post_processor: Value, add_bos: Option<bool>) -> Vec<u32> {
    let dir = tempfile::tempdir().unwrap();
    let mut tokenizer: Value =
        serde_json::from_slice(&std::fs::read(bundled().join("tokenizer.json")).unwrap()).unwrap();
    tokenizer["post_processor"] = post_processor;
    std::fs::write(dir.path().join("tokenizer.json"), tokenizer.to_string()).unwrap();
    if let Some(add_bos) = add_bos {
        let config = json!({"add_bos_token": add_bos}).to_string();
        std::fs::write(dir.path().join("tokenizer_config.json"), config).unwrap();
    }
    open(dir.path()).encode("a b").unwrap()
}

/// A post-processor that puts token `id` first.
fn template(id: u32) -> Value {
    let special = json!({"SpecialToken": {"id": "first", "type_id": 0}});
    let text = json!({"Sequence": {"id": "A", "type_id": 0}});
    json!({"type": "TemplateProcessing", "single": [special, text], "pair": [special, text],
        "special_tokens": {"first": {"id": "first", "ids": [id], "tokens": ["first"]}}})
}

#[test]
fn texts_of_the_reference_come_back() {
    let references: Value = serde_json::from_slice(&std::fs::read(bundled().join("reference.json")).unwrap()).unwrap();
    let text_codec = open(&bundled());
    for reference in references.as_array().unwrap() {
        let tokens: Vec<u32> = serde_json::from_value(reference["greedy"].clone()).unwrap();
        assert_eq!(text_codec.decode(&tokens).unwrap(), reference["text"]);
    }
}

#[test]
fn a_suffix_has_no_first_token() {
    let text_codec = open(&bundled());
    let (text, suffix) = (text_codec.encode("a b").unwrap(), text_codec.encode_suffix("a b").unwrap());
    assert_eq!(text[0], 0);
    assert_eq!(text[1..], suffix);
    assert_eq!(text_codec.decode(&suffix).unwrap(), "a b");
}

#[test]
fn the_first_token_is_the_model_s_unless_the_tokenizer_decides() {
    let plain = open(&bundled()).encode_suffix("a b").unwrap();
    let with = |first: u32| [&[first], &plain[..]].concat();
    assert_eq!(begins(Value::Null, None), with(0));
    assert_eq!(begins(Value::Null, Some(false)), plain);
    assert_eq!(begins(template(7), None), with(7));
    assert_eq!(begins(template(0), Some(true)), with(0));
    assert_eq!(
        begins(json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true}), None),
        plain
    );
}

#[test]
fn a_missing_or_broken_tokenizer_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let config = ModelConfig::open(&bundled()).unwrap();
    assert_eq!(TextCodec::open(dir.path(), &config).unwrap_err().kind(), ErrorKind::NotFound);
    std::fs::write(dir.path().join("tokenizer.json"), "{}").unwrap();
    let error = TextCodec::open(dir.path(), &config).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("tokenizer.json"), "{error}");
}
