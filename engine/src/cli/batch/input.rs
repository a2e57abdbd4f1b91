//! Batch files: one request a line.

use std::collections::HashMap;
use std::path::Path;

use kvdepot_client::{Error, Result, files};
use rayon::prelude::*;
use serde::Deserialize;
use serde_json::Value;

use crate::cli::openai::{Asked, Defaults, Endpoint};

/// A line of a batch file.
///
/// Source: the input format of OpenAI's Batch API.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    custom_id: String,
    method: String,
    url: Endpoint,
    body: Value,
}

/// A line that is not blank.
#[derive(Debug)]
pub(in crate::cli) struct Job {
    /// Counted from 1.
    pub(in crate::cli) line: usize,
    /// None where the line is not one of a batch.
    pub(in crate::cli) custom_id: Option<String>,
    /// What it asks for, or why nobody can tell.
    pub(in crate::cli) asked: Result<Asked>,
}

/// Reads a batch file: a line that cannot be run is a job with its error.
///
/// # Errors
/// As [`files::read_text`]; `Invalid` when two lines have one `custom_id`, since their results could not be told apart, or
/// when there is no line.
pub(in crate::cli) fn read(path: &Path, defaults: &Defaults<'_>) -> Result<Vec<Job>> {
    let text = files::read_text(path)?;
    let lines: Vec<(usize, &str)> = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()).collect();
    let jobs: Vec<Job> = lines.into_par_iter().map(|(line, text)| Job::parse(line, text, defaults)).collect();
    if jobs.is_empty() {
        return Err(Error::invalid(format!("{} holds no requests", path.display())));
    }
    let mut lines = HashMap::new();
    for Job { line, custom_id, .. } in &jobs {
        if let Some(other) = custom_id.as_ref().and_then(|id| lines.insert(id, line)) {
            let id = custom_id.as_deref().unwrap_or_default();
            return Err(Error::invalid(format!(
                "{}: lines {other} and {line} both have the custom_id {id:?}",
                path.display()
            )));
        }
    }
    Ok(jobs)
}

impl Job {
    fn parse(line: usize, text: &str, defaults: &Defaults<'_>) -> Self {
        match serde_json::from_str::<Line>(text) {
            Ok(parsed) if parsed.method == "POST" => Self {
                line,
                custom_id: Some(parsed.custom_id),
                asked: Asked::new(parsed.url, parsed.body, defaults).and_then(whole),
            },
            Ok(parsed) => {
                let refused = Error::invalid(format!("method {:?} is not POST", parsed.method));
                Self { line, custom_id: Some(parsed.custom_id), asked: Err(refused) }
            }
            Err(error) => Self { line, custom_id: None, asked: Err(Error::invalid(format!("not a request: {error}"))) },
        }
    }
}

/// Refuses what a file cannot answer.
fn whole(asked: Asked) -> Result<Asked> {
    if asked.wants_stream {
        return Err(Error::invalid("parameter \"stream\" makes no sense in a batch"));
    }
    Ok(asked)
}
