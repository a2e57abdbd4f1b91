//! The benchmark of fetches measures what it says: real bytes of the right number, over a link that is left as it is.

use std::process::Command;

use anyhow::{Context, ensure};
use kvdepot_codec::Dtype;
use kvdepot_tests::{DepotProcess, KvSource, StoredModel, program};
use serde_json::Value;

const NUM_TOKENS: usize = 1_024;

fn bench(more: &[&str]) -> anyhow::Result<Value> {
    let dir = tempfile::tempdir()?;
    let depot = DepotProcess::start(&dir.path().join("depot"), &[])?;
    let [kv, trace] = ["kv.safetensors", "fast.trace"].map(|name| dir.path().join(name));
    KvSource::small(Dtype::Bf16, 9)?.write_dump(&kv, 512)?;
    std::fs::write(&trace, "0 10000\n")?;
    let mut command = Command::new(program("kvdepot-engine")?);
    command.args(["bench", "fetch", "--json", "--depot", &depot.url(), "--contexts", "1024"]).args(more);
    let output = command.arg("--kv").arg(&kv).arg("--trace").arg(&trace).output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{errors}{}", String::from_utf8_lossy(&output.stdout));
    serde_json::from_slice(&output.stdout).with_context(|| errors.into_owned())
}

#[test]
fn ways_bring_the_bytes_that_their_names_say() -> anyhow::Result<()> {
    let result = bench(&[])?;
    let context = &result["contexts"][0];
    let way = |name: &str| {
        let ways = context["ways"].as_array().into_iter().flatten();
        ways.into_iter().find(|way| way["way"] == name).with_context(|| format!("no {name}: {result}"))
    };
    let bytes = |name: &str| anyhow::Ok(way(name)?["payload_bytes"].as_u64().unwrap_or_default());
    let kv_bytes = KvSource::small(Dtype::Bf16, 9)?.geometry.kv_bytes(NUM_TOKENS) as u64;
    for (name, exact) in [("raw", kv_bytes), ("int8", kv_bytes / 2)] {
        assert!((exact..exact + exact / 10).contains(&bytes(name)?), "{name}: {} for {exact}", bytes(name)?);
    }
    assert!(bytes("q3 base")? < bytes("q3")? && bytes("q3")? < bytes("int8")?, "{result}");
    assert!(bytes("controller")? <= bytes("q3")?, "{result}");
    assert_eq!((way("text")?["computed_tokens"].as_u64(), bytes("text")?), (Some(NUM_TOKENS as u64), 0));
    assert_eq!(way("q2")?["computed_tokens"], 0, "an engine that only loads");
    assert_eq!(way("deadline 2000 ms")?["qualities"], 3.0, "a link that is fast enough for all: {result}");
    assert!(context["best_base_ms"].as_f64() <= context["best_ms"].as_f64(), "{result}");
    Ok(())
}

#[test]
fn the_engine_can_be_as_fast_as_this_machine() -> anyhow::Result<()> {
    let model = StoredModel::dir();
    let result = bench(&["--model", &model.to_string_lossy()])?;
    let [measured, given] = [&result, &bench(&[])?].map(|result| result["engine"]["prefill_tokens_per_sec"].as_f64());
    assert!(measured.is_some_and(|rate| rate > 0.0) && measured != given, "{measured:?}, {given:?}");
    Ok(())
}
