//! The main job, as `scripts/demo` runs it: what the depot gives back changes no answer, and survives `kill -9`.

use std::path::Path;
use std::process::Command;

use anyhow::Context;
use kvdepot_tests::program;
use serde_json::Value;

/// Runs the demo over the bundled model and document: its exit code and the last line of its output.
fn demo(level: &str) -> anyhow::Result<(Option<i32>, Value)> {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model");
    let output = Command::new(program("kvdepot-engine")?)
        .args(["demo", "--json", "--level", level, "--max-tokens", "12"])
        .arg("--model")
        .arg(&model)
        .arg("--document")
        .arg(model.join("demo/document.txt"))
        .arg("--requests")
        .arg(model.join("demo/requests.jsonl"))
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    let last = text.lines().last().context("the demo printed nothing")?;
    Ok((output.status.code(), serde_json::from_str(last).with_context(|| text.clone())?))
}

#[test]
fn a_lossless_depot_changes_no_answer() -> anyhow::Result<()> {
    let (code, report) = demo("q0")?;
    assert_eq!(code, Some(0), "{report}");
    assert_eq!((&report["outputs_identical"], &report["survived_kill"]), (&true.into(), &true.into()), "{report}");
    assert!(report["requests"].as_u64() >= Some(32), "{report}");
    assert!(report["stored_bytes"].as_u64() < report["raw_kv_bytes"].as_u64(), "{report}");
    for key in ["context_tokens", "ttft_recompute_ms", "ttft_fetch_ms"] {
        assert!(report[key].as_f64() > Some(0.0), "{key} in {report}");
    }
    for key in ["decode_tokens_per_sec_shared", "decode_tokens_per_sec_unshared"] {
        assert!(report[key].as_f64() > Some(0.0), "{key} in {report}");
    }
    Ok(())
}

#[test]
fn a_lossy_level_is_smaller_and_still_survives() -> anyhow::Result<()> {
    for level in ["q2", "q3"] {
        let (code, report) = demo(level)?;
        assert_eq!((code, &report["survived_kill"]), (Some(0), &true.into()), "{report}");
        let half = report["raw_kv_bytes"].as_u64().map(|bytes| bytes / 2);
        assert!(report["stored_bytes"].as_u64() < half, "{report}");
        assert!(report["requests"].as_u64() >= Some(32), "{report}");
    }
    Ok(())
}
