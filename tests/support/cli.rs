//! The `kvdepot` command, run to its end.

use std::{
    ffi::{OsStr, OsString},
    process::Command,
};

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::{DepotProcess, program};

/// A way to call `kvdepot`.
#[derive(Debug, Clone, Default)]
pub struct Cli {
    global: Vec<OsString>,
}

/// What a call came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Exit code; -1 when a signal ended it.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Cli {
    /// Calls that name no depot.
    pub fn new() -> Self {
        Self::default()
    }

    /// Calls to `depot`, over its Unix socket.
    pub fn of(depot: &DepotProcess) -> Self {
        Self::new().with(["--depot".into(), depot.url()])
    }

    /// The same calls with further arguments in front.
    #[must_use]
    pub fn with<S: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.global.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Calls the command. The environment of the test does not reach it.
    ///
    /// # Errors
    /// When the program is not built or does not start.
    pub fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> anyhow::Result<Outcome> {
        let mut command = Command::new(program("kvdepot")?);
        command.env_clear().args(&self.global).args(arguments);
        let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
        Ok(Outcome {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout)?,
            stderr: String::from_utf8(output.stderr)?,
        })
    }

    /// Calls the command with `--json` and gives its report.
    ///
    /// # Errors
    /// When it fails, with all that it printed.
    pub fn json<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> anyhow::Result<Value> {
        let outcome = self.clone().with(["--json"]).run(arguments)?;
        ensure!(outcome.code == 0, "kvdepot failed: {outcome:?}");
        outcome.json()
    }
}

impl Outcome {
    /// Standard output as JSON.
    ///
    /// # Errors
    /// When it is none.
    pub fn json(&self) -> anyhow::Result<Value> {
        serde_json::from_str(&self.stdout).with_context(|| format!("not JSON: {self:?}"))
    }
}
