//! Arguments in, one report or one error out.

mod ask;
mod batch;
mod bench;
mod both_ends;
mod context;
mod demo;
mod depot;
mod depot_scope;
mod device;
mod dump;
mod engine;
mod eval;
mod fetch_report;
mod generate;
mod interrupt;
mod keeper;
mod openai;
mod plan;
mod progress;
mod report;
mod scope;
mod serve;
mod store;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use report::Report;

const EXIT_CODES: &str = "Exit codes:
  0  done
  1  internal or other error
  2  wrong usage or invalid input
  3  not found: a file, or a chunk in the depot
  4  incompatible: a model, spec, level or format version that this build does not take
  5  corrupt bytes
  6  denied
  7  busy: no memory, quota or space left
  8  depot not reachable";

#[derive(Parser)]
#[command(
    name = "kvdepot-engine",
    version,
    about = "Runs models of the Llama family over shared, depot-kept contexts."
)]
#[command(after_help = EXIT_CODES, arg_required_else_help = true)]
struct Cli {
    /// Print one JSON object, errors too
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Continue a prompt.
    Generate(generate::GenerateArgs),
    /// Prefill a text and write its KV as a dump.
    Dump(dump::DumpArgs),
    /// Prefill a context once and put its KV into a depot; what the depot has of it is not computed again.
    Store(store::StoreArgs),
    /// Answer requests that share a context, as one prefix group.
    Ask(ask::AskArgs),
    /// Run a file of requests, each distinct prefix of them computed once.
    Batch(batch::BatchArgs),
    /// Show what the requests of a file share, and what running them would take.
    Plan(plan::PlanArgs),
    /// Answer requests over HTTP, as OpenAI's API does.
    Serve(serve::ServeArgs),
    /// Run the main job end to end, and compare with doing without a depot.
    Demo(demo::DemoArgs),
    /// Measure what is left of the model's quality at each level, and the bytes that it takes.
    Eval(eval::EvalArgs),
    /// Measure decoding, or fetches over a link.
    #[command(subcommand)]
    Bench(bench::BenchCommand),
    /// Tell whether there is a GPU.
    Device(device::DeviceArgs),
}

/// Runs the command line.
pub(crate) fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(refused) => return report::usage_error(&refused),
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    // A server goes on when nobody reads its log any more.
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).log_internal_errors(false).init();
    match cli.command.run() {
        Ok(report) => report::print(&*report, cli.json),
        Err(error) => report::fail(&error, cli.json),
    }
}

impl Command {
    fn run(self) -> anyhow::Result<Box<dyn Report>> {
        Ok(match self {
            Self::Generate(args) => Box::new(args.run()?),
            Self::Dump(args) => Box::new(args.run()?),
            Self::Store(args) => Box::new(args.run()?),
            Self::Ask(args) => Box::new(args.run()?),
            Self::Batch(args) => Box::new(args.run()?),
            Self::Plan(args) => Box::new(args.run()?),
            Self::Serve(args) => Box::new(args.run()?),
            Self::Demo(args) => Box::new(args.run()?),
            Self::Eval(args) => Box::new(args.run()?),
            Self::Bench(command) => command.run()?,
            Self::Device(args) => Box::new(args.run()),
        })
    }
}
