//! `kvdepot codec bench` measures every codec in one run, and `kvdepot codec synth` gives it KV of other shapes.

use std::path::{Path, PathBuf};

use kvdepot_codec::{Dtype, Level, dump::KvDump};
use kvdepot_tests::{Cli, KvSource};
use serde_json::Value;
use tempfile::TempDir;

fn dump(dir: &TempDir, num_tokens: usize) -> anyhow::Result<PathBuf> {
    let path = dir.path().join("in.safetensors");
    KvSource::small(Dtype::Bf16, 7)?.write_dump(&path, num_tokens)?;
    Ok(path)
}

/// A run on as little KV as there is.
fn bench(dump: &Path, more: &[&str]) -> anyhow::Result<Value> {
    let arguments = ["codec", "bench", "--repeat-to", "1", "--repeat-baselines-to", "1", "--rounds", "1"];
    Cli::new().json(arguments.iter().chain(more).map(AsRef::as_ref).chain([dump.as_os_str()]))
}

fn names(rows: &Value) -> Vec<&str> {
    rows.as_array().into_iter().flatten().filter_map(|row| row["name"].as_str()).collect()
}

fn row<'a>(rows: &'a Value, name: &str) -> &'a Value {
    rows.as_array().into_iter().flatten().find(|row| row["name"] == name).unwrap_or(&Value::Null)
}

#[test]
fn every_level_and_baseline_is_measured_in_one_run() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let report = bench(&dump(&dir, 700)?, &[])?;
    let levels = names(&report["levels"]);
    assert!(Level::ALL.iter().all(|level| levels.contains(&level.name())), "{levels:?}");
    assert!(levels.contains(&"q3.0") && levels.contains(&"q3.1"), "{levels:?}");
    assert_eq!(names(&report["baselines"]), ["lmcache", "zstd-1", "zstd-9", "int8", "kvtc-8x", "kvtc-16x"]);
    let rows = [&report["levels"], &report["baselines"]].into_iter().filter_map(Value::as_array).flatten();
    for row in rows {
        for rate in ["encode_gb_per_sec", "decode_gb_per_sec", "ratio", "bits_per_value"] {
            assert!(row[rate].as_f64() > Some(0.0), "{rate} of {row}");
        }
    }
    assert!(report["memcpy_gb_per_sec"].as_f64() > Some(0.0), "{report}");
    Ok(())
}

#[test]
fn lmcache_has_the_error_of_q2_and_more_bytes() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let report = bench(&dump(&dir, 512)?, &["--levels", "q0,q2"])?;
    let (q0, q2) = (row(&report["levels"], "q0"), row(&report["levels"], "q2"));
    let lmcache = row(&report["baselines"], "lmcache");
    assert_eq!([&q0["key_error"], &q0["value_error"]], [&Value::from(0.0); 2]);
    assert_eq!((&lmcache["key_error"], &lmcache["value_error"]), (&q2["key_error"], &q2["value_error"]));
    assert!(lmcache["ratio"].as_f64() < q2["ratio"].as_f64(), "{report}");
    Ok(())
}

#[test]
fn short_dumps_are_measured_without_kvtc_and_say_so() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let report = bench(&dump(&dir, 100)?, &["--levels", "q0"])?;
    assert_eq!(names(&report["baselines"]), ["lmcache", "zstd-1", "zstd-9", "int8"]);
    assert!(report["notes"][0].as_str().is_some_and(|note| note.contains("kvtc")), "{report}");
    Ok(())
}

#[test]
fn people_get_a_table_and_no_progress_without_a_terminal() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let dump = dump(&dir, 64)?;
    let arguments = ["codec", "bench", "--no-baselines", "--repeat-to", "1", "--rounds", "1", "--levels", "q0"];
    let outcome = Cli::new().run(arguments.iter().map(AsRef::as_ref).chain([dump.as_os_str()]))?;
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""), "{outcome:?}");
    assert!(outcome.stdout.lines().any(|line| line.trim_start().starts_with("q0")), "{}", outcome.stdout);
    assert!(outcome.stdout.contains("memcpy"), "{}", outcome.stdout);
    Ok(())
}

#[test]
fn synthetic_kv_has_the_shape_asked_for_and_says_what_it_is() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let (dump, out) = (dump(&dir, 80)?, dir.path().join("out.safetensors"));
    let shape = ["--layers", "6", "--kv-heads", "3", "--head-dim", "128", "--tokens", "70"];
    let arguments = ["codec".as_ref(), "synth".as_ref(), "--like".as_ref(), dump.as_os_str()];
    let arguments = arguments.into_iter().chain(shape.iter().map(AsRef::as_ref)).chain([out.as_os_str()]);
    Cli::new().json(arguments)?;
    let bytes = std::fs::read(&out)?;
    let synthetic = KvDump::parse(&bytes)?;
    let geometry = synthetic.geometry();
    assert_eq!((geometry.num_layers(), geometry.num_kv_heads(), geometry.head_dim()), (6, 3, 128));
    assert_eq!(synthetic.num_tokens(), 70);
    assert!(synthetic.metadata().contains_key("synthetic") && !synthetic.metadata().contains_key("tokens"));
    Ok(())
}
