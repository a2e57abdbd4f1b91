//! `kvdepot-engine plan`: what a batch shares and takes, without running it.

mod picture;

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use kvdepot_engine::plan::{Outlook, Plan, RequestShape};
use serde::Serialize;

use super::batch::{input::Job, read_jobs};
use super::depot_scope::DepotScopeArgs;
use super::engine::{Engine, EngineArgs};
use super::report::Outcome;
use picture::Picture;

/// Shows what the requests of a batch share, and what running them would take.
#[derive(Debug, clap::Args)]
pub(super) struct PlanArgs {
    #[command(flatten)]
    engine: EngineArgs,
    /// Requests, in the format of OpenAI's Batch API
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// Most tokens to decode of a request that does not say
    #[arg(long, value_name = "N", default_value_t = 256)]
    max_tokens: usize,
    /// Most lines of the picture of the tree
    #[arg(long, value_name = "N", default_value_t = 30)]
    lines: usize,
    #[command(flatten)]
    depot: DepotScopeArgs,
}

/// The report of `plan`.
#[derive(Debug, Serialize)]
pub(super) struct PlanReport {
    /// Choices count one by one.
    requests: usize,
    /// Lines and requests that cannot be run.
    invalid: usize,
    /// Requests whose worst case does not fit the memory.
    refused: usize,
    /// Prefixes that several requests share, above each other at most.
    levels: usize,
    groups: Vec<Group>,
    prefill_tokens_total: usize,
    prefill_tokens_planned: usize,
    /// Tokens whose KV would be loaded from the depot.
    load_tokens: usize,
    saved_fraction: f64,
    /// The most KV that is held at a time, if no request ends before its last token.
    peak_kv_bytes: usize,
    peak_requests: usize,
    steps: usize,
    planning_secs: f64,
    #[serde(skip)]
    picture: String,
}

/// A prefix that several requests share.
#[derive(Debug, Serialize)]
struct Group {
    /// The longest group that it continues, by its place in the list.
    parent: Option<usize>,
    level: usize,
    /// Tokens from position 0.
    prefix_tokens: usize,
    /// Of those, what its parent does not have.
    own_tokens: usize,
    /// Of those, what would be loaded from the depot.
    load_tokens: usize,
    requests: usize,
}

impl PlanArgs {
    pub(super) fn run(&self) -> anyhow::Result<PlanReport> {
        let engine = self.engine.load()?;
        let jobs = read_jobs(&engine, &self.input, &[], self.max_tokens)?;
        let asked: Vec<_> = jobs.iter().filter_map(|Job { asked, .. }| asked.as_ref().ok()).collect();
        let started = Instant::now();
        let requests = asked.iter().flat_map(|asked| &asked.requests);
        let (sound, unsound): (Vec<_>, Vec<_>) = requests.partition(|request| engine.runner.check(request).is_ok());
        let shapes: Vec<RequestShape<'_>> = sound.into_iter().map(RequestShape::from).collect();
        let plan = self.plan(&engine, &shapes)?;
        let outlook = plan.outlook(engine.runner.limits());
        let planning_secs = started.elapsed().as_secs_f64();
        let picture = Picture::new(&plan, self.lines).to_string();
        let page_bytes = engine.runner.pool().page_bytes();
        Ok(PlanReport {
            planning_secs,
            picture,
            ..report(&plan, &outlook, jobs.len() - asked.len() + unsound.len(), page_bytes)
        })
    }
}

impl PlanArgs {
    /// Plans requests, with what the depot has of them if one is named.
    fn plan(&self, engine: &Engine, shapes: &[RequestShape<'_>]) -> anyhow::Result<Plan> {
        let Some((depot, scope)) = self.depot.connect(engine)? else { return Ok(Plan::new(shapes)) };
        let mut failure = None;
        let plan = Plan::informed(shapes, |contexts| match depot.matches(&scope, contexts, Duration::ZERO) {
            Ok(found) => found.iter().map(|found| found.matched_tokens).collect(),
            Err(error) => {
                failure = Some(error);
                vec![0; contexts.len()]
            }
        });
        failure.map_or(Ok(plan), |error| Err(error.into()))
    }
}

fn report(plan: &Plan, outlook: &Outlook, invalid: usize, page_bytes: usize) -> PlanReport {
    let group = |(idx, prefix): (usize, &kvdepot_engine::plan::SharedPrefix)| Group {
        parent: prefix.parent,
        level: prefix.level,
        prefix_tokens: prefix.num_tokens,
        own_tokens: plan.own_tokens(idx),
        load_tokens: plan.load_tokens(idx),
        requests: prefix.num_requests,
    };
    let (total, planned) = (plan.total_tokens(), plan.planned_tokens());
    PlanReport {
        requests: plan.requests.len(),
        invalid,
        refused: outlook.refused.len(),
        levels: plan.prefixes.iter().map(|prefix| prefix.level + 1).max().unwrap_or(0),
        groups: plan.prefixes.iter().enumerate().map(group).collect(),
        prefill_tokens_total: total,
        prefill_tokens_planned: planned,
        load_tokens: plan.loaded_tokens(),
        saved_fraction: total.saturating_sub(planned) as f64 / total.max(1) as f64,
        peak_kv_bytes: outlook.peak_pages * page_bytes,
        peak_requests: outlook.peak_requests,
        steps: outlook.steps,
        planning_secs: 0.0,
        picture: String::new(),
    }
}

impl Outcome for PlanReport {}

impl fmt::Display for PlanReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.picture)?;
        writeln!(
            f,
            "{} requests, {} prefixes shared at {} levels; {} cannot be run, {} do not fit",
            self.requests,
            self.groups.len(),
            self.levels,
            self.invalid,
            self.refused
        )?;
        writeln!(
            f,
            "prefill: {} of {} tokens, {} more would be loaded, {:.1} % saved",
            self.prefill_tokens_planned,
            self.prefill_tokens_total,
            self.load_tokens,
            1e2 * self.saved_fraction
        )?;
        write!(
            f,
            "at most {} requests and {:.1} MiB of KV at a time, {} steps; planned in {:.3} s",
            self.peak_requests,
            self.peak_kv_bytes as f64 / f64::from(1 << 20),
            self.steps,
            self.planning_secs
        )
    }
}
