//! A batch whose results fill the disk ends with an error, keeps whole results only, and goes on where there is room again.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use kvdepot_tests::program;
use serde_json::{Value, json};

const REQUESTS: usize = 60;

/// Runs a batch on a file system of 16 KiB, and goes on with it on a larger one. What it says and leaves goes to files of `$3`.
const SCRIPT: &str = r#"
    mount -t tmpfs -o size=16k tmpfs "$1"
    cd "$3"
    out="$1/out.jsonl" engine=$2 model=$4
    batch() { "$engine" batch --json --model "$model" --input in.jsonl --output "$out" "$@"; }
    batch > first.json; echo $? > first.code; cp "$out" first.jsonl
    mount -o remount,size=4m "$1"
    batch --resume > second.json; echo $? > second.code; cp "$out" second.jsonl
"#;

fn results(path: &Path) -> anyhow::Result<Vec<Value>> {
    let text = std::fs::read_to_string(path)?;
    ensure!(text.is_empty() || text.ends_with('\n'), "a line was cut off");
    text.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
}

#[test]
fn what_is_finished_is_kept_and_the_rest_is_run_when_there_is_room() -> anyhow::Result<()> {
    let (mount_point, files) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model").canonicalize()?;
    let line = |idx: usize| {
        let body = json!({"model": "m", "prompt": format!("Question {idx}:"), "max_tokens": 30, "temperature": 0});
        json!({"custom_id": format!("q{idx}"), "method": "POST", "url": "/v1/completions", "body": body}).to_string()
    };
    std::fs::write(files.path().join("in.jsonl"), (0..REQUESTS).map(line).collect::<Vec<_>>().join("\n"))?;
    let mut command = Command::new("unshare");
    command.args(["--mount", "--map-root-user", "sh", "-ec", "mount -t tmpfs tmpfs /mnt"]).stderr(Stdio::null());
    if !command.status().is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: this system does not let the test mount a small file system");
        return Ok(());
    }
    let mut command = Command::new("unshare");
    command.args(["--mount", "--map-root-user", "sh", "-c", SCRIPT, "sh"]);
    command.arg(mount_point.path()).arg(program("kvdepot-engine")?).arg(files.path()).arg(model);
    let output = command.env_remove("KVDEPOT_URL").output()?;
    let read = |name: &str| std::fs::read_to_string(files.path().join(name)).context(format!("{name}: {output:?}"));

    assert_eq!(read("first.code")?.trim(), "7", "{output:?}");
    let refused: Value = serde_json::from_str(&read("first.json")?)?;
    assert_eq!(refused["error"]["kind"], "busy", "{refused}");
    let first = results(&files.path().join("first.jsonl"))?;
    assert!(first.len() < REQUESTS);
    assert_eq!(read("second.code")?.trim(), "0", "{output:?}");
    let second = results(&files.path().join("second.jsonl"))?;
    assert_eq!(second[..first.len()], first);
    let mut ids: Vec<&str> = second.iter().filter_map(|result| result["custom_id"].as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!((ids.len(), second.len()), (REQUESTS, REQUESTS));
    assert!(second.iter().all(|result| result["error"].is_null()));
    Ok(())
}
