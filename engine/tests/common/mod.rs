//! Models that the tests run: the bundled one, and random ones of every architecture; and the command itself.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use kvdepot_engine::{Model, Precision, Request, Runner, Sampling, Settings};
use serde::Deserialize;
use serde_json::Value;

pub(crate) const BOTH: [Precision; 2] = [Precision::F32, Precision::Bf16];

/// One prompt of a `reference.json`, by Hugging Face transformers in f32.
#[derive(Deserialize)]
pub(crate) struct Reference {
    pub(crate) prompt: Vec<u32>,
    /// Ids that greedy decoding gives, end tokens ignored.
    pub(crate) greedy: Vec<u32>,
    /// Logits after the prompt.
    pub(crate) last_logits: Vec<f32>,
}

pub(crate) fn bundled() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../model")
}

/// Directories of the random checkpoints, sorted.
pub(crate) fn checkpoints() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/checkpoints");
    let entries = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> = entries.filter(|path| path.join("config.json").exists()).collect();
    found.sort();
    found
}

pub(crate) fn runner(dir: &Path, precision: Precision) -> Runner {
    runner_with(dir, precision, Settings::default())
}

pub(crate) fn runner_with(dir: &Path, precision: Precision, settings: Settings) -> Runner {
    Runner::new(Model::load(dir, Some(precision)).unwrap(), settings)
}

pub(crate) fn references(dir: &Path) -> Vec<Reference> {
    serde_json::from_slice(&std::fs::read(dir.join("reference.json")).unwrap()).unwrap()
}

pub(crate) fn greedy(suffix: &[u32], max_tokens: usize) -> Request {
    Request { suffix: suffix.to_vec(), max_tokens, sampling: Sampling::default(), stop_tokens: vec![], top_logprobs: 0 }
}

/// Runs `kvdepot-engine`.
pub(crate) fn run(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kvdepot-engine")).args(args).output().unwrap()
}

/// What a command that succeeds prints.
pub(crate) fn json(args: &[&str]) -> Value {
    let output = run(args);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[track_caller]
pub(crate) fn assert_refused(args: &[&str], code: i32, words: &str) {
    let output = run(args);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert!(stderr.contains(words), "{stderr}");
    assert!(output.stdout.is_empty());
}

/// As an argument.
pub(crate) fn path(dir: &Path) -> String {
    dir.to_str().unwrap().to_owned()
}
