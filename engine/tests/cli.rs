//! Promise: the command gives what the library computes, and refuses in words with an exit code.
#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod common;

use common::{assert_refused, bundled, checkpoints, json, path, references, run};
use kvdepot_codec::Rope;
use kvdepot_codec::dump::KvDump;
use serde_json::Value;

fn ids(tokens: &[u32]) -> String {
    tokens.iter().map(u32::to_string).collect::<Vec<_>>().join(",")
}

#[test]
fn generate_gives_the_tokens_and_the_text_of_the_reference() {
    let model = path(&bundled());
    let reference: Value = serde_json::from_slice(&std::fs::read(bundled().join("reference.json")).unwrap()).unwrap();
    let prompt = ids(&references(&bundled())[1].prompt);
    let fixed = ["--dtype", "f32", "--max-tokens", "32", "--json"];
    let report = json(&[&["generate", "--model", &model, "--prompt-tokens", &prompt], &fixed[..]].concat());
    assert_eq!(report["tokens"], reference[1]["greedy"]);
    assert_eq!(report["text"], reference[1]["text"]);
    assert_eq!(report["cached_tokens"], 0);
    assert_eq!(report["finish_reason"], "length");
    let logprobs = report["logprobs"].as_array().unwrap();
    assert_eq!(logprobs.len(), 32);
    assert!(logprobs.iter().all(|logprob| logprob.as_f64().unwrap() <= 0.0));
    assert!(report["prefill_ms"].as_f64().unwrap() > 0.0);
}

#[test]
fn generate_from_a_file_begins_with_the_model_s_first_token() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "The quick brown").unwrap();
    let model = path(&bundled());
    let output = run(&["generate", "--model", &model, "--prompt-file", file.path().to_str().unwrap()]);
    assert!(output.status.success());
    let dumped = dump("The quick brown", &[]);
    let tokens = KvDump::parse(&dumped).unwrap().metadata()["tokens"].clone();
    assert!(tokens.starts_with("0,"), "{tokens}");
    let with_ids = run(&["generate", "--model", &model, "--prompt-tokens", &tokens]);
    assert_eq!(with_ids.stdout, output.stdout);
}

#[test]
fn a_model_without_a_tokenizer_takes_and_gives_tokens() {
    let report = json(&["generate", "--model", &path(&checkpoints()[0]), "--prompt-tokens", "3,4,5", "--json"]);
    assert_eq!(report["text"], Value::Null);
    assert!(!report["tokens"].as_array().unwrap().is_empty());
}

#[test]
fn a_seed_decides_what_is_drawn() {
    let (model, settings) = (path(&bundled()), ["--temperature", "1.5", "--max-tokens", "12", "--json"]);
    let tokens = |seed: &str| {
        let args =
            [&["generate", "--model", &model, "--prompt-tokens", "0,40", "--seed", seed], &settings[..]].concat();
        json(&args)["tokens"].clone()
    };
    assert_eq!(tokens("1"), tokens("1"));
    assert_ne!(tokens("1"), tokens("2"));
}

/// Bytes of the dump of a text.
fn dump(text: &str, options: &[&str]) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let (input, out) = (dir.path().join("text"), dir.path().join("kv.safetensors"));
    std::fs::write(&input, text).unwrap();
    let model = path(&bundled());
    let args = ["dump", "--model", &model, "--text", input.to_str().unwrap(), out.to_str().unwrap()];
    let output = run(&[&args, options].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::read(out).unwrap()
}

#[test]
fn a_dump_holds_the_kv_of_the_first_tokens_and_what_identifies_it() {
    let text = std::fs::read_to_string(bundled().join("demo/document.txt")).unwrap();
    let (long, short) = (dump(&text, &["--max-tokens", "300"]), dump(&text, &["--max-tokens", "70"]));
    let (long, short) = (KvDump::parse(&long).unwrap(), KvDump::parse(&short).unwrap());
    assert_eq!((long.num_tokens(), short.num_tokens()), (300, 70));
    assert_eq!((long.origin().rope().unwrap(), long.first_position()), (Rope::plain(50_000.0), 0));
    assert_eq!(long.chunk(0, 70).unwrap(), short.chunk(0, 70).unwrap());
    assert_eq!(long.metadata()["tokens"].split(',').count(), 300);
    let spec: Value = serde_json::from_str(&long.metadata()["kv_spec"]).unwrap();
    assert_eq!((&spec["dtype"], &spec["num_layers"]), (&"bf16".into(), &6.into()));
}

#[test]
fn what_cannot_be_taken_is_refused_with_the_reason_and_an_exit_code_of_its_kind() {
    let model = path(&bundled());
    for (options, code, words) in [
        (&[][..], 2, "--prompt-file"),
        (&["--prompt-tokens", "1,x"], 2, "invalid value 'x'"),
        (&["--prompt-tokens", "1,4000"], 2, "token 4000 is outside the vocabulary of 2048"),
        (&["--prompt-tokens", "1", "--dtype", "f8"], 2, "[possible values: bf16, f32]"),
        (&["--prompt-tokens", "1", "--max-tokens", "0"], 2, "both must be at least 1"),
        (&["--prompt-tokens", "1", "--max-tokens", "5000"], 2, "5000 tokens are more than the model's context of 4096"),
        (&["--prompt-tokens", "1", "--top-p", "2"], 2, "top-p 2 is outside"),
        (&["--prompt-file", "no/such/file"], 3, "no/such/file"),
        (&["--prompt-tokens", "1", "--kv-memory", "0"], 7, "of the pool's 0 are in use"),
    ] {
        assert_refused(&[&["generate", "--model", &model], options].concat(), code, words);
    }
    assert_refused(&["generate", "--model", "no/such/model", "--prompt-tokens", "1"], 3, "no/such/model/config.json");
}
