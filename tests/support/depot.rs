//! A daemon of the test's own.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use kvdepot_client::ConnectOptions;
use kvdepot_proto::data_dir::{self, Endpoints};

use crate::program;

/// Longest wait for a daemon to start or to end.
const DEADLINE: Duration = Duration::from_secs(60);
/// How often its state is looked at meanwhile.
const POLL: Duration = Duration::from_millis(5);

/// A running `kvdepotd`, on ports that the system chose. Dropping it kills it.
#[derive(Debug)]
pub struct DepotProcess {
    child: Child,
    dir: PathBuf,
    endpoints: Endpoints,
}

impl DepotProcess {
    /// Starts a daemon on the data directory `dir` and waits until it is ready. `settings` are names and values as in
    /// its file: `("store.quota_bytes", "1 MiB")`.
    ///
    /// # Errors
    /// When the program is not built, or ends before it is ready, with its log.
    pub fn start(dir: &Path, settings: &[(&str, &str)]) -> anyhow::Result<Self> {
        std::fs::create_dir_all(dir)?;
        let published = dir.join(data_dir::ENDPOINTS);
        if published.exists() {
            std::fs::remove_file(&published).context("endpoints of the daemon before this one")?;
        }
        let log = dir.join("kvdepotd.log");
        let log_file = std::fs::File::options().create(true).append(true).open(&log)?;
        let mut command = Command::new(program("kvdepotd")?);
        command.env_clear().env("KVDEPOT__DATA_DIR", dir);
        for (name, value) in [("grpc.listen", "127.0.0.1:0"), ("quic.listen", "127.0.0.1:0")].iter().chain(settings) {
            command.env(format!("KVDEPOT__{}", name.replace('.', "__").to_uppercase()), value);
        }
        command.stdin(Stdio::null()).stdout(log_file.try_clone()?).stderr(log_file);
        let mut child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
        match wait_until_ready(&mut child, &published) {
            Ok(endpoints) => Ok(Self { child, dir: dir.to_owned(), endpoints }),
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(error.context(std::fs::read_to_string(&log).unwrap_or_default()))
            }
        }
    }

    /// Where it listens.
    pub fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    /// Its data directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// URL of its Unix socket.
    pub fn url(&self) -> String {
        self.connect_options().url
    }

    /// Options that reach it over its Unix socket.
    pub fn connect_options(&self) -> ConnectOptions {
        ConnectOptions::in_data_dir(&self.dir)
    }

    /// Bytes of memory that it has.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn resident_bytes(&self) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix("kB"));
        Ok(1024 * kib.context("no VmRSS")?.trim().parse::<u64>()?)
    }

    /// Kills it at once, as a crash would, and starts another on the same directory.
    ///
    /// # Errors
    /// When it cannot be waited for, or as [`Self::start`].
    pub fn restart_after_kill9(self) -> anyhow::Result<Self> {
        let dir = self.dir.clone();
        self.kill9()?;
        Self::start(&dir, &[])
    }

    /// Kills it at once, as a crash would.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn kill9(mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks it to end and waits until it has.
    ///
    /// # Errors
    /// When it does not end in time, or not with success.
    pub fn terminate(mut self) -> anyhow::Result<()> {
        let sent = Command::new("kill").arg("-TERM").arg(self.child.id().to_string()).status()?;
        ensure!(sent.success(), "kill -TERM {} ended with {sent}", self.child.id());
        let status = poll("the daemon to end", || Ok(self.child.try_wait()?))?;
        ensure!(status.success(), "the daemon ended with {status}");
        Ok(())
    }
}

impl Drop for DepotProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn wait_until_ready(child: &mut Child, published: &Path) -> anyhow::Result<Endpoints> {
    poll("the daemon to be ready", || {
        if let Some(status) = child.try_wait()? {
            bail!("the daemon ended with {status}");
        }
        match std::fs::read(published) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(_) => Ok(None),
        }
    })
}

/// Looks again and again until there is something.
///
/// # Errors
/// Those of `look`, and when nothing is there after a minute.
pub fn poll<T>(what: &str, mut look: impl FnMut() -> anyhow::Result<Option<T>>) -> anyhow::Result<T> {
    let started = Instant::now();
    while started.elapsed() < DEADLINE {
        if let Some(found) = look()? {
            return Ok(found);
        }
        thread::sleep(POLL);
    }
    bail!("waited {DEADLINE:?} for {what}")
}
