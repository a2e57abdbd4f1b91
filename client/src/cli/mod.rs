//! Arguments in, one report or one error out.

mod chunks;
mod codec;
mod connection;
mod exit;
mod get;
mod get_explained;
mod input;
mod ls;
mod matching;
mod progress;
mod put;
mod report;
mod rm;
mod show;
mod status;
mod text;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use kvdepot_client::{Error, Result};
use tracing_subscriber::EnvFilter;

use connection::ConnectionArgs;
use report::Report;

#[derive(Parser)]
#[command(name = "kvdepot", version, about = "Looks into a depot for KV caches, and moves contexts in and out of it.")]
#[command(after_help = exit::HELP, arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    connection: ConnectionArgs,
    /// Print one JSON object, errors too.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show how full the depot is and where it listens.
    Status(status::StatusArgs),
    /// List the stored contexts, least recently used first.
    Ls(ls::LsArgs),
    /// Show a chunk and the chain that leads to it.
    Show(show::ShowArgs),
    /// Remove contexts.
    Rm(rm::RmArgs),
    /// Encode a KV dump and store it.
    Put(put::PutArgs),
    /// Fetch a context and write it as a KV dump.
    Get(get::GetArgs),
    /// Tell how many leading tokens of a sequence are stored, and why no more. A miss is an answer: it exits with 0.
    Match(matching::MatchArgs),
    /// Encode, decode and look at files, without a depot.
    #[command(subcommand)]
    Codec(codec::CodecCommand),
}

/// Runs the command line.
pub(crate) fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(refused) => return usage_error(&refused),
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let json = cli.json;
    match run(cli) {
        Ok(report) => report::print(&*report, json),
        Err(error) => report::fail(&error, json),
    }
}

fn run(cli: Cli) -> Result<Box<dyn Report>> {
    let runtime = tokio::runtime::Runtime::new().map_err(|error| Error::invalid(format!("cannot start: {error}")))?;
    runtime.block_on(cli.command.run(&cli.connection, cli.json))
}

impl Command {
    async fn run(self, connection: &ConnectionArgs, json: bool) -> Result<Box<dyn Report>> {
        if let Self::Codec(command) = self {
            return command.run();
        }
        let client = connection.connect().await?;
        let report: Box<dyn Report> = match self {
            Self::Status(args) => Box::new(args.run(&client, connection).await?),
            Self::Ls(args) => Box::new(args.run(&client).await?),
            Self::Show(args) => Box::new(args.run(&client).await?),
            Self::Rm(args) => Box::new(args.run(&client, json).await?),
            Self::Put(args) => Box::new(args.run(&client).await?),
            Self::Get(args) => Box::new(args.run(&client).await?),
            Self::Match(args) => Box::new(args.run(&client).await?),
            Self::Codec(command) => command.run()?,
        };
        client.close().await;
        Ok(report)
    }
}

/// Help and version go to standard output as they are; anything else is invalid usage.
fn usage_error(refused: &clap::Error) -> ExitCode {
    let json = std::env::args().any(|argument| argument == "--json");
    if refused.use_stderr() && json {
        let text = refused.render().to_string();
        let (complaint, _usage) = text.split_once("\n\n").unwrap_or((&text, ""));
        let words: Vec<_> = complaint.trim_start_matches("error: ").split_whitespace().collect();
        return report::fail(&Error::invalid(words.join(" ")), json);
    }
    let _ = refused.print();
    ExitCode::from(u8::try_from(refused.exit_code()).unwrap_or(2))
}
