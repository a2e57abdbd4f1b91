//! An engine that computes from the front while a context comes from the back, or its first layers while later ones come, answers as
//! it would without a depot.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use kvdepot_tests::{DepotProcess, program};
use serde_json::Value;

fn model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../model")
}

fn engine(arguments: &[&str]) -> anyhow::Result<Value> {
    let mut command = Command::new(program("kvdepot-engine")?);
    let output = command.arg(arguments[0]).arg("--model").arg(model()).args(&arguments[1..]).arg("--json").output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{arguments:?}: {errors}");
    serde_json::from_slice(&output.stdout).with_context(|| format!("{arguments:?}: {errors}"))
}

/// Asks the demo's questions about its document.
fn ask(more: &[&str]) -> anyhow::Result<Value> {
    let [text, requests] = ["demo/document.txt", "demo/requests.jsonl"].map(|name| model().join(name));
    let (text, requests) = (text.to_string_lossy(), requests.to_string_lossy());
    engine(&[&["ask", "--text", &text, "--requests", &requests, "--max-tokens", "8"], more].concat())
}

#[test]
fn answers_do_not_depend_on_where_the_ends_meet() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let depot = DepotProcess::start(&dir.path().join("depot"), &[])?;
    let text = model().join("demo/document.txt");
    engine(&["store", "--text", &text.to_string_lossy(), "--depot", &depot.url()])?;
    let alone = ask(&[])?;
    let overlapped = ask(&["--overlap", "--explain", "--depot", &depot.url()])?;
    assert_eq!(overlapped["answers"], alone["answers"]);
    assert!(overlapped["cached_tokens"].as_u64() <= overlapped["context_tokens"].as_u64(), "{overlapped}");
    assert!(overlapped["fetch"]["steps"].as_array().is_some_and(|steps| !steps.is_empty()), "{overlapped}");
    assert!(ask(&["--overlap", "--depot", &depot.url()])?["fetch"].is_null(), "only when asked for");
    Ok(())
}

#[test]
fn a_context_that_is_not_stored_is_computed() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let depot = DepotProcess::start(&dir.path().join("depot"), &[])?;
    let overlapped = ask(&["--overlap", "--depot", &depot.url()])?;
    assert_eq!(overlapped["cached_tokens"], 0);
    assert_eq!(overlapped["answers"], ask(&[])?["answers"]);
    Ok(())
}

#[test]
fn answers_do_not_depend_on_the_order_in_which_a_context_comes() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let depot = DepotProcess::start(&dir.path().join("depot"), &[])?;
    let by_layers = || ask(&["--order", "layers", "--depot", &depot.url()]);
    let missed = by_layers()?;
    assert_eq!((&missed["cached_tokens"], &missed["layers"]), (&0.into(), &Value::Null), "{missed}");
    let text = model().join("demo/document.txt");
    engine(&["store", "--text", &text.to_string_lossy(), "--depot", &depot.url()])?;
    let loaded = by_layers()?;
    assert_eq!(loaded["cached_tokens"], loaded["context_tokens"]);
    assert!(loaded["layers"]["decoded_ms"].as_f64().is_some_and(|ms| ms > 0.0), "{loaded}");
    let alone = ask(&[])?;
    assert_eq!((&loaded["answers"], &missed["answers"]), (&alone["answers"], &alone["answers"]));
    Ok(())
}
