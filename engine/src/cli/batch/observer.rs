//! What a batch comes to, as results.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use indicatif::ProgressBar;
use kvdepot_client::{Error, Result};
use kvdepot_engine::{BatchObserver, Completion, Ended, Progress, TextCodec};
use serde_json::{Value, json};

use super::output::{Output, ResultLine};
use super::report::Counts;
use crate::cli::openai::{Answered, Asked, error_code, has_stop};
use crate::cli::report::of_engine;

/// A job that runs: the answers to its choices as they come.
pub(super) struct Running {
    pub(super) line: usize,
    pub(super) custom_id: Option<String>,
    pub(super) asked: Asked,
    completions: Vec<Option<Completion>>,
    cached_tokens: usize,
    has_failed: bool,
}

impl Running {
    pub(super) fn new(line: usize, custom_id: Option<String>, asked: Asked) -> Self {
        let completions = asked.requests.iter().map(|_| None).collect();
        Self { line, custom_id, asked, completions, cached_tokens: 0, has_failed: false }
    }
}

/// Writes results down as requests end.
pub(super) struct Results<'a> {
    pub(super) output: Output,
    pub(super) jobs: Vec<Running>,
    /// Of each request of the batch, its job and its choice.
    pub(super) places: Vec<(usize, usize)>,
    pub(super) text: Option<&'a TextCodec>,
    pub(super) counts: Counts,
    pub(super) bar: ProgressBar,
    /// Whether the user wants to stop.
    pub(super) interrupted: &'a AtomicBool,
    pub(super) decoded_tokens: usize,
    /// Why results could not be written.
    pub(super) failure: Option<Error>,
}

impl Results<'_> {
    /// Writes down a request that failed.
    pub(super) fn fail(&mut self, line: usize, custom_id: Option<String>, error: &Error) {
        self.counts.failed += 1;
        let (code, _) = error_code(error.kind());
        let error = json!({"code": code, "message": error.to_string()});
        self.push(line, custom_id, None, Some(error));
    }

    fn push(&mut self, line: usize, custom_id: Option<String>, response: Option<Value>, error: Option<Value>) {
        let id = format!("batch_req_{line}");
        let line = custom_id.is_none().then_some(line);
        self.output.push(&ResultLine { id, custom_id, line, response, error });
    }

    /// Writes down a job of which all choices have come.
    fn succeed(&mut self, job: usize) -> Result<()> {
        let running = &mut self.jobs[job];
        let completions: Vec<Completion> = running.completions.iter_mut().filter_map(Option::take).collect();
        let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let id = format!("cmpl-{}", running.line);
        let answered = Answered {
            asked: &running.asked,
            completions: &completions,
            cached_tokens: running.cached_tokens,
            created,
            id: &id,
        };
        let body = answered.body(self.text)?;
        let (line, custom_id) = (running.line, running.custom_id.clone());
        self.counts.succeeded += 1;
        self.push(line, custom_id, Some(json!({"status_code": 200, "request_id": id, "body": body})), None);
        Ok(())
    }

    fn take(&mut self, ended: Ended) {
        let (job, choice) = self.places[ended.request];
        let running = &mut self.jobs[job];
        if running.has_failed {
            return;
        }
        running.cached_tokens += ended.reused_tokens;
        let taken = match ended.outcome {
            Ok(completion) => {
                running.completions[choice] = Some(completion);
                if running.completions.iter().any(Option::is_none) {
                    return;
                }
                self.succeed(job)
            }
            Err(error) => Err(of_engine(&error)),
        };
        if let Err(error) = taken {
            self.jobs[job].has_failed = true;
            let (line, custom_id) = (self.jobs[job].line, self.jobs[job].custom_id.clone());
            self.fail(line, custom_id, &error);
        }
    }
}

impl BatchObserver for Results<'_> {
    fn token(&mut self, request: usize, completion: &Completion) -> ControlFlow<()> {
        self.decoded_tokens += 1;
        let stops = &self.jobs[self.places[request].0].asked.stops;
        if has_stop(stops, completion, self.text) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn end(&mut self, ended: Ended) {
        self.take(ended);
    }

    fn step(&mut self, progress: Progress) -> ControlFlow<()> {
        if self.failure.is_none() {
            self.failure = self.output.sync().err();
        }
        let done = self.counts.succeeded + self.counts.failed;
        self.bar.set_position(done as u64);
        let mib = progress.kv_bytes as f64 / f64::from(1 << 20);
        let (read, decoded) = (progress.prefilled_tokens, progress.decoded_tokens);
        self.bar.set_message(format!("{read} tokens read, {decoded} written, {mib:.0} MiB of KV"));
        if self.failure.is_some() || self.interrupted.load(Ordering::Relaxed) {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }
}
