//! Promise: `bench` measures what it says: a drawn model is a model, and the KV that a step reads is what sharing leaves of it.
#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod common;

use common::{assert_refused, json, path};

/// Bytes of a token's keys and values in the tiny shape: two layers, two sides, two heads of 16, bf16.
const TOKEN_BYTES: f64 = 256.0;
const PAGE_TOKENS: f64 = 64.0;

#[test]
fn a_shared_prefix_is_read_once_and_an_unshared_one_by_each_request() {
    for prefill in [&[][..], &["--prefill"]] {
        let args = ["bench", "decode", "--shape", "tiny", "--prefix", "256", "--requests", "4", "--json"];
        let report = json(&[&args[..], &["--suffix", "8", "--tokens", "4"], prefill].concat());
        let number = |name: &str| report[name].as_f64().unwrap();
        // Four pages of prefix and one of its own for each request; 8 tokens of suffix, and 1 to 3 decoded ones.
        assert_eq!(number("kv_bytes_read_per_step"), (4.0 + 4.0) * PAGE_TOKENS * TOKEN_BYTES);
        assert_eq!(number("kv_bytes_read_per_step_unshared"), 4.0 * (4.0 + 1.0) * PAGE_TOKENS * TOKEN_BYTES);
        assert_eq!(number("kv_bytes_bound"), (256.0 + 4.0 * 10.0) * TOKEN_BYTES);
        assert_eq!(number("kv_bytes_bound_unshared"), 4.0 * (256.0 + 10.0) * TOKEN_BYTES);
        for rate in ["shared", "unshared", "single"] {
            assert!(number(&format!("decode_tokens_per_sec_{rate}")) > 0.0);
        }
        for rate in ["prefill_tokens_per_sec", "attention_gflops", "read_gb_per_sec", "memcpy_gb_per_sec"] {
            assert!(number(rate) > 0.0, "{rate}");
        }
        assert!(number("attention_fraction") < 1.0);
    }
}

#[test]
fn a_written_checkpoint_is_a_model_with_a_tokenizer() {
    let dir = tempfile::tempdir().unwrap();
    let model = path(&dir.path().join("tiny"));
    let written = json(&["bench", "checkpoint", "--shape", "tiny", "--output", &model, "--json"]);
    assert_eq!(written["weight_bytes"], written["parameters"].as_u64().unwrap() * 2);
    let text = dir.path().join("text");
    std::fs::write(&text, "the thing, and 7 ünder").unwrap();
    let report = json(&["generate", "--model", &model, "--prompt-file", &path(&text), "--max-tokens", "3", "--json"]);
    assert_eq!(report["tokens"].as_array().unwrap().len(), 3);
    assert_refused(&["bench", "checkpoint", "--shape", "tiny", "--output", &model], 2, "has a model already");
}

#[test]
fn what_cannot_be_measured_is_refused_before_anything_is_allocated() {
    for (options, code, words) in [
        (&[][..], 2, "--shape"),
        (&["--shape", "huge"], 2, "[possible values: qwen3-0.6b, llama-3.2-1b, tiny]"),
        (&["--shape", "tiny", "--requests", "0"], 2, "at least 1"),
        (&["--shape", "tiny", "--tokens", "1"], 2, "at least 1, and 2 tokens"),
        (&["--shape", "tiny", "--turns", "0"], 2, "--turns"),
        (&["--shape", "tiny", "--prefix", "40960"], 2, "more than the model's context of 40960"),
        (&["--shape", "tiny", "--requests", "99999999999999"], 7, "of memory are available"),
        (&["--model", "no/such/model"], 3, "no/such/model/config.json"),
    ] {
        assert_refused(&[&["bench", "decode"], options].concat(), code, words);
    }
}
