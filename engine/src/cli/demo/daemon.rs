//! The daemon of the demo: started, killed and started again.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use kvdepot_proto::data_dir;

const START_TIMEOUT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);

/// A running `kvdepotd`; dropping it kills it.
pub(super) struct Daemon {
    child: Child,
    socket: PathBuf,
}

impl Daemon {
    /// Starts `program` on `dir`, on loopback with ports of the system's choice, and waits until it serves.
    pub(super) fn start(program: &Path, dir: &Path) -> anyhow::Result<Self> {
        let child = Command::new(program)
            .arg("--data-dir")
            .arg(dir)
            .args(["--set", "grpc.listen=127.0.0.1:0", "--set", "quic.listen=127.0.0.1:0", "--set", "log.filter=warn"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let mut daemon = Self { child, socket: dir.join(data_dir::SOCKET) };
        daemon.wait_until_ready(&dir.join(data_dir::ENDPOINTS))?;
        Ok(daemon)
    }

    /// URL of its Unix socket.
    pub(super) fn url(&self) -> String {
        format!("unix:{}", self.socket.display())
    }

    /// Ends it with SIGKILL: it gets no chance to finish anything.
    pub(super) fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill().context("cannot kill kvdepotd")?;
        self.child.wait().context("cannot wait for kvdepotd")?;
        Ok(())
    }

    fn wait_until_ready(&mut self, endpoints: &Path) -> anyhow::Result<()> {
        let deadline = Instant::now() + START_TIMEOUT;
        while !self.has_written(endpoints) {
            if let Some(status) = self.child.try_wait()? {
                bail!("kvdepotd ended with {status} before it served");
            }
            if Instant::now() > deadline {
                bail!("kvdepotd did not serve within {START_TIMEOUT:?}");
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    /// Whether the file is there, and of this process: one that was killed leaves its own behind.
    fn has_written(&self, endpoints: &Path) -> bool {
        let text = std::fs::read(endpoints).unwrap_or_default();
        serde_json::from_slice::<data_dir::Endpoints>(&text).is_ok_and(|written| written.pid == self.child.id())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
