//! What a command has to say, in JSON for scripts and in text for people.

use std::{fmt::Display, io::Write, process::ExitCode};

use kvdepot_client::Error;
use serde::Serialize;
use serde_json::{Value, json};

/// What a command has to say.
pub(super) trait Report {
    fn json(&self) -> Value;
    fn text(&self) -> String;
}

impl<T: Serialize + Display> Report for T {
    fn json(&self) -> Value {
        json!(self)
    }

    fn text(&self) -> String {
        self.to_string()
    }
}

/// Prints a report to standard output.
pub(super) fn print(report: &dyn Report, json: bool) -> ExitCode {
    let text = if json { report.json().to_string() } else { report.text() };
    match write_line(&text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Prints an error, and gives the exit code of its kind.
pub(super) fn fail(error: &Error, json: bool) -> ExitCode {
    let kind = error.kind();
    if json {
        let _ = write_line(&json!({"error": {"kind": kind.name(), "message": error.to_string()}}).to_string());
    } else {
        eprintln!("error: {error}");
    }
    ExitCode::from(kind.exit_code())
}

fn write_line(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", text.trim_end())?;
    out.flush()
}
