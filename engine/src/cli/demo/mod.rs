//! The main job, end to end: prefill, put, kill, restart, fetch, decode as one group, and the same from scratch.

mod daemon;
mod report;
mod table;

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};
use kvdepot_codec::Level;
use serde::de::DeserializeOwned;

use self::daemon::Daemon;
use self::report::Report;
use super::ask::Answers;
use super::store::Stored;

#[derive(Debug, clap::Args)]
pub(super) struct DemoArgs {
    /// Hugging Face directory of the model
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// Document to prefill
    #[arg(long, value_name = "FILE")]
    document: PathBuf,
    /// Requests about the document: JSON lines with `id` and `suffix`
    #[arg(long, value_name = "FILE")]
    requests: PathBuf,
    /// Level to store the KV cache at
    #[arg(long, default_value_t = Level::Q0)]
    level: Level,
    /// Tokens to decode for each request
    #[arg(long, default_value_t = 32)]
    max_tokens: usize,
    /// The daemon's program, if it does not lie next to this one
    #[arg(long, value_name = "FILE")]
    kvdepotd: Option<PathBuf>,
}

impl DemoArgs {
    pub(super) fn run(&self) -> anyhow::Result<Report> {
        let dir = tempfile::tempdir().context("cannot make a temporary directory")?;
        let kvdepotd = self.kvdepotd()?;

        say("1/5 starting kvdepotd");
        let daemon = Daemon::start(&kvdepotd, dir.path())?;
        say("2/5 prefilling the document, encoding its KV cache, putting it over QUIC");
        let level = self.level.name();
        let stored: Stored = self.engine("store", &["--level", level, "--depot", &daemon.url()])?;
        say("3/5 killing kvdepotd with SIGKILL and starting it again");
        daemon.kill()?;
        let daemon = Daemon::start(&kvdepotd, dir.path())?;
        say("4/5 a new engine fetches the KV cache and answers the requests as one prefix group");
        let lossy: &[&str] = if self.level.is_lossless() { &[] } else { &["--lossy"] };
        let fetched = self.ask(&[&["--sharing", "on", "--depot", &daemon.url()], lossy].concat())?;
        say("5/5 another one answers them from scratch, without the depot and without sharing");
        let scratch = self.ask(&["--sharing", "off"])?;
        Ok(Report::new(self.level, &stored, &fetched, &scratch))
    }

    fn ask(&self, more: &[&str]) -> anyhow::Result<Answers> {
        let max_tokens = self.max_tokens.to_string();
        let requests = self.requests.to_str().context("the path of the requests is not UTF-8")?;
        self.engine("ask", &[&["--requests", requests, "--max-tokens", &max_tokens], more].concat())
    }

    /// Runs another engine process over the document, and reads its JSON.
    fn engine<T: DeserializeOwned>(&self, command: &str, more: &[&str]) -> anyhow::Result<T> {
        let inputs = ["--model".as_ref(), self.model.as_os_str(), "--text".as_ref(), self.document.as_os_str()];
        let output = Command::new(std::env::current_exe()?)
            .args([OsStr::new(command), "--json".as_ref()])
            .args(inputs)
            .args(more)
            .env_remove("KVDEPOT_URL")
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .with_context(|| format!("cannot start `kvdepot-engine {command}`"))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stdout);
            bail!("`kvdepot-engine {command}` ended with {}: {}", output.status, said.trim());
        }
        serde_json::from_slice(&output.stdout).with_context(|| format!("output of `kvdepot-engine {command}`"))
    }

    fn kvdepotd(&self) -> anyhow::Result<PathBuf> {
        if let Some(path) = &self.kvdepotd {
            return Ok(path.clone());
        }
        let path = std::env::current_exe()?.with_file_name("kvdepotd");
        if !path.exists() {
            bail!("{} does not exist: build it with `cargo build --release`, or pass --kvdepotd", path.display());
        }
        Ok(path)
    }
}

fn say(step: &str) {
    eprintln!("{step}");
}
