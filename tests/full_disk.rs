//! A full disk refuses the put, loses nothing that was acknowledged, and leaves the daemon serving.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use kvdepot_codec::Dtype;
use kvdepot_tests::{Cli, KvSource, program, same_dump};

const DEADLINE: Duration = Duration::from_secs(60);

/// Most contexts that are tried; far fewer fill the disk.
const CONTEXTS: u64 = 400;

/// A daemon in a mount namespace of its own, whose data directory is a file system of 420 MiB: the room that the store
/// keeps free, and as much again.
struct SmallDepot {
    child: Child,
    /// The data directory, seen from outside of the namespace.
    dir: PathBuf,
}

impl SmallDepot {
    fn start(mount_point: &Path) -> anyhow::Result<Self> {
        let script = r#"mount -t tmpfs -o size=420m tmpfs "$1" && exec "$2" --data-dir "$1" \
            --set grpc.listen=127.0.0.1:0 --set quic.listen=127.0.0.1:0"#;
        let child = Command::new("unshare")
            .args(["--mount", "--map-root-user", "sh", "-c", script, "sh"])
            .arg(mount_point)
            .arg(program("kvdepotd")?)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let dir = PathBuf::from(format!("/proc/{}/root{}", child.id(), mount_point.display()));
        let mut depot = Self { child, dir };
        let started = Instant::now();
        while !depot.dir.join("endpoints.json").exists() {
            if let Some(status) = depot.child.try_wait()? {
                bail!("the daemon ended with {status}");
            }
            if started.elapsed() > DEADLINE {
                bail!("the daemon was not ready within {DEADLINE:?}");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(depot)
    }

    fn cli(&self) -> Cli {
        Cli::new().with([String::from("--depot"), format!("unix:{}", self.dir.join("kvdepot.sock").display())])
    }
}

impl Drop for SmallDepot {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn may_mount() -> bool {
    let probe = Command::new("unshare")
        .args(["--mount", "--map-root-user", "sh", "-c", "mount -t tmpfs tmpfs /mnt"])
        .stderr(Stdio::null())
        .status();
    probe.is_ok_and(|status| status.success())
}

#[test]
fn a_full_disk_refuses_the_put_and_keeps_what_was_acknowledged() -> anyhow::Result<()> {
    if !may_mount() {
        eprintln!("SKIPPED: this system does not let the test mount a small file system");
        return Ok(());
    }
    let files = tempfile::tempdir()?;
    let mount_point = tempfile::tempdir()?;
    let depot = SmallDepot::start(mount_point.path())?;
    let (cli, mut kept, mut refusal) = (depot.cli(), Vec::new(), None);
    for seed in 0..CONTEXTS {
        let dump = files.path().join(format!("{seed}.safetensors"));
        KvSource::small(Dtype::Bf16, seed)?.write_dump(&dump, 2048)?;
        let outcome = cli.clone().with(["--json"]).run(["put".as_ref(), dump.as_os_str()])?;
        if outcome.code != 0 {
            refusal = Some(outcome);
            break;
        }
        kept.push((outcome.json()?["id"].as_str().context("id")?.to_owned(), dump));
    }
    let refusal = refusal.context("the disk never filled")?;
    assert_eq!((refusal.code, &refusal.json()?["error"]["kind"]), (7, &"busy".into()), "{refusal:?}");
    assert!(refusal.stdout.contains("bytes of disk"), "{refusal:?}");
    assert!(!kept.is_empty(), "{refusal:?}");
    for (id, dump) in &kept {
        let out = files.path().join("out.safetensors");
        cli.json(["get".as_ref(), id.as_ref(), out.as_os_str()])?;
        let same = same_dump(dump, &out)?;
        assert!(same, "{id} came back changed");
    }
    assert_eq!(cli.json(["ls"])?["contexts"].as_array().map(Vec::len), Some(kept.len()));
    Ok(())
}
