//! Arguments in, one result on standard output or one error on standard error out.

mod dump;
mod generate;
mod model;
mod progress;
mod spec;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use kvdepot_engine::{Error, ErrorKind};
use tracing_subscriber::EnvFilter;

/// Runs models of the Llama family over prompts and documents, and writes down their KV.
#[derive(Parser)]
#[command(name = "kvdepot-engine", version, arg_required_else_help = true)]
#[command(after_help = "Exit codes: 0 done, 1 failed, 2 wrong usage or input that cannot be taken.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Continue one prompt.
    Generate(generate::GenerateArgs),
    /// Prefill a text and write its KV as a KV dump.
    Dump(dump::DumpArgs),
}

/// Runs the command line.
pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match cli.command.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            exit_code(&error)
        }
    }
}

impl Command {
    fn run(self) -> Result<()> {
        match self {
            Self::Generate(args) => args.run(),
            Self::Dump(args) => args.run(),
        }
    }
}

fn exit_code(error: &anyhow::Error) -> ExitCode {
    match error.downcast_ref::<Error>().map(Error::kind) {
        Some(ErrorKind::Invalid | ErrorKind::NotFound | ErrorKind::Incompatible) => ExitCode::from(2),
        _ => ExitCode::FAILURE,
    }
}
