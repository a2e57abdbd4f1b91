//! What a command has to say, in JSON for scripts and in text for people.

use std::fmt::Display;
use std::io::Write;
use std::process::ExitCode;

use kvdepot_client::ErrorKind;
use serde::Serialize;
use serde_json::{Value, json};

/// What a command has to say: its JSON form is made by serde, its text by `Display`.
pub(super) trait Report {
    fn json(&self) -> Value;
    fn text(&self) -> String;
    fn failure(&self) -> Option<String>;
}

/// What a command that ran to its end promised and did not keep.
pub(super) trait Outcome {
    /// The broken promise, in words.
    fn failure(&self) -> Option<String> {
        None
    }
}

impl<T: Serialize + Display + Outcome> Report for T {
    fn json(&self) -> Value {
        json!(self)
    }

    fn text(&self) -> String {
        self.to_string()
    }

    fn failure(&self) -> Option<String> {
        Outcome::failure(self)
    }
}

/// Prints a report to standard output; with `json`, as one line.
pub(super) fn print(report: &dyn Report, json: bool) -> ExitCode {
    let text = if json { report.json().to_string() } else { report.text() };
    if write_line(&text).is_err() {
        return ExitCode::FAILURE;
    }
    match report.failure() {
        Some(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
        None => ExitCode::SUCCESS,
    }
}

/// Prints an error, and gives the exit code of its kind.
pub(super) fn fail(error: &anyhow::Error, json: bool) -> ExitCode {
    let kind = kind_of(error);
    if json {
        let message = format!("{error:#}");
        let _ = write_line(&json!({"error": {"kind": kind.name(), "message": message}}).to_string());
    } else {
        eprintln!("error: {error:#}");
    }
    ExitCode::from(kind.exit_code())
}

/// Help and version go to standard output as they are; anything else is invalid usage.
pub(super) fn usage_error(refused: &clap::Error) -> ExitCode {
    let _ = refused.print();
    ExitCode::from(u8::try_from(refused.exit_code()).unwrap_or(2))
}

/// The kind of the first error in the chain that has one.
fn kind_of(error: &anyhow::Error) -> ErrorKind {
    let known = error.chain().find_map(|cause| {
        if let Some(error) = cause.downcast_ref::<kvdepot_client::Error>() {
            return Some(error.kind());
        }
        if let Some(error) = cause.downcast_ref::<kvdepot_codec::Error>() {
            return Some(kvdepot_client::Error::from(error.clone()).kind());
        }
        cause.downcast_ref::<kvdepot_engine::Error>().map(|error| kind_of_engine(error.kind()))
    });
    known.unwrap_or(ErrorKind::Internal)
}

/// An error of the engine, as the client's.
pub(super) fn of_engine(error: &kvdepot_engine::Error) -> kvdepot_client::Error {
    kvdepot_client::Error::new(kind_of_engine(error.kind()), error.to_string())
}

/// The client's word for a kind of the engine's.
fn kind_of_engine(kind: kvdepot_engine::ErrorKind) -> ErrorKind {
    match kind {
        kvdepot_engine::ErrorKind::NotFound => ErrorKind::NotFound,
        kvdepot_engine::ErrorKind::Invalid => ErrorKind::Invalid,
        kvdepot_engine::ErrorKind::Incompatible => ErrorKind::Incompatible,
        kvdepot_engine::ErrorKind::Corrupt => ErrorKind::Corrupt,
        kvdepot_engine::ErrorKind::Busy => ErrorKind::Busy,
        kvdepot_engine::ErrorKind::Unavailable => ErrorKind::Internal,
    }
}

fn write_line(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", text.trim_end())?;
    out.flush()
}
