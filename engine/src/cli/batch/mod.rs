//! `kvdepot-engine batch`: a file of requests to a file of results.

pub(super) mod input;
mod observer;
mod output;
mod report;
mod source;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use kvdepot_client::files;
use kvdepot_engine::{BatchReport, NoSource, Request, Sharing};

use super::depot_scope::DepotScopeArgs;
use super::engine::{Engine, EngineArgs};
use super::keeper::PutLevel;
use super::openai::{ChatTemplate, Defaults};
use super::{interrupt, progress};
use input::Job;
use observer::{Results, Running};
use output::{Done, Existing, Output};
use report::{Counts, Report};
use source::DepotSource;

/// Runs a batch of requests, each distinct prefix of them computed once.
///
/// Results are appended to the file of results, and synced, as requests end. The first Ctrl-C ends what has begun and writes it
/// down, a second one ends at once; --resume goes on after either, or after a crash.
#[derive(Debug, clap::Args)]
pub(super) struct BatchArgs {
    #[command(flatten)]
    engine: EngineArgs,
    /// Requests, in the format of OpenAI's Batch API: JSON lines of custom_id, method, url and body
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// Where results go
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// Go on with the file of results: what it has is not run again
    #[arg(long)]
    resume: bool,
    /// Write the report there too, as JSON
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Most tokens to decode of a request that does not say
    #[arg(long, value_name = "N", default_value_t = 256)]
    max_tokens: usize,
    /// Name that requests call the model by; may be repeated [default: any]
    #[arg(long = "served-model-name", value_name = "NAME")]
    served_names: Vec<String>,
    #[command(flatten)]
    depot: DepotScopeArgs,
    /// Level at which prefixes that were computed and that requests share are put into the depot, or none
    #[arg(long, value_name = "LEVEL", default_value = "q0")]
    put: PutLevel,
}

impl BatchArgs {
    pub(super) fn run(&self) -> anyhow::Result<Report> {
        let engine = self.engine.load()?;
        let jobs = read_jobs(&engine, &self.input, &self.served_names, self.max_tokens)?;
        let mut depot = self.depot_source(&engine)?;
        let existing = if self.resume { Existing::Resume } else { Existing::Refuse };
        let (output, done) = Output::open(&self.output, existing)?;
        let interrupted = interrupt::watch()?;
        let mut results = results(&engine, output, jobs.len(), &interrupted);
        let requests = results.begin(jobs, |job| done.contains(&job));
        let started = Instant::now();
        let batch = if requests.is_empty() {
            BatchReport::default()
        } else {
            match &mut depot {
                Some(depot) => engine.runner.run_batch(&requests, Sharing::On, depot, &mut results)?,
                None => engine.runner.run_batch(&requests, Sharing::On, &mut NoSource, &mut results)?,
            }
        };
        results.bar.finish_and_clear();
        results.output.sync()?;
        if let Some(failure) = results.failure {
            return Err(failure.into());
        }
        let elapsed = started.elapsed();
        let depot = depot.map(DepotSource::finish);
        let report = Report { depot, ..Report::new(results.counts, &batch, results.decoded_tokens, elapsed) };
        if let Some(path) = &self.report {
            let json = serde_json::to_vec_pretty(&report)?;
            files::write_whole(path, |part| std::fs::write(part, &json).map_err(files::unwritable(path)))?;
        }
        Ok(report)
    }
}

impl BatchArgs {
    /// The depot to load from and put into, if one is named.
    fn depot_source<'a>(&self, engine: &'a Engine) -> anyhow::Result<Option<DepotSource<'a>>> {
        let Some((depot, scope)) = self.depot.connect(engine)? else { return Ok(None) };
        let keeper = self.put.keeper(engine, &depot, &scope)?;
        Ok(Some(DepotSource::new(&engine.runner, depot, scope, keeper)))
    }
}

/// Reads a batch file for a model.
pub(super) fn read_jobs(
    engine: &Engine,
    input: &std::path::Path,
    model_names: &[String],
    max_tokens: usize,
) -> anyhow::Result<Vec<Job>> {
    let template = ChatTemplate::open(engine.dir())?;
    let defaults = Defaults {
        text: engine.tokenizer(),
        template: template.as_ref(),
        model_names,
        max_tokens,
        stop_tokens: &engine.runner.model().config().eos_tokens,
    };
    Ok(input::read(input, &defaults)?)
}

fn results<'a>(engine: &'a Engine, output: Output, requests: usize, interrupted: &'a Arc<AtomicBool>) -> Results<'a> {
    Results {
        output,
        jobs: Vec::new(),
        places: Vec::new(),
        text: engine.tokenizer(),
        counts: Counts { requests, ..Counts::default() },
        bar: progress::requests("batch", requests),
        interrupted,
        decoded_tokens: 0,
        failure: None,
    }
}

impl Results<'_> {
    /// Takes jobs that are not done: writes down those that cannot run, and gives the requests of the others.
    fn begin(&mut self, jobs: Vec<Job>, is_done: impl Fn(Done) -> bool) -> Vec<Request> {
        let mut requests = Vec::new();
        for Job { line, custom_id, asked } in jobs {
            let by_line = custom_id.is_none().then_some(line);
            if is_done(Done { custom_id: custom_id.clone(), line: by_line }) {
                self.counts.resumed += 1;
                continue;
            }
            match asked {
                Err(error) => self.fail(line, custom_id, &error),
                Ok(asked) => {
                    self.places.extend((0..asked.requests.len()).map(|choice| (self.jobs.len(), choice)));
                    requests.extend(asked.requests.iter().cloned());
                    self.jobs.push(Running::new(line, custom_id, asked));
                }
            }
        }
        requests
    }
}
