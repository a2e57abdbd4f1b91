//! `kvdepotd`: the depot daemon as a program.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use kvdepot_daemon::settings::Sources;
use kvdepot_daemon::{Daemon, Settings, logging};
use mimalloc::MiMalloc;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};

/// Gives freed pages to the next buffer, where the system's would hand them back and fault them in anew.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Stores KV caches of shared contexts and serves them to inference engines.
///
/// Settings come from defaults, then the file, then KVDEPOT__SECTION__KEY in the environment, then flags.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(flatten)]
    settings: SettingsArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Args)]
struct SettingsArgs {
    /// TOML file of settings; without it, kvdepot/kvdepotd.toml in the user's configuration directory if it is there
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Directory of the store, the certificate and the Unix socket
    #[arg(long, value_name = "DIR", global = true)]
    data_dir: Option<String>,
    /// Most bytes of chunks, such as 10GiB; 0 for no limit
    #[arg(long, value_name = "BYTES", global = true)]
    quota: Option<String>,
    /// Any setting, such as grpc.listen=0.0.0.0:7440; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_and_value, global = true)]
    other: Vec<(String, String)>,
}

#[derive(Subcommand)]
enum Command {
    /// Looks at the settings without serving
    Config {
        #[command(subcommand)]
        action: ConfigAction,
    },
}

#[derive(Subcommand)]
enum ConfigAction {
    /// Prints the settings in effect, as TOML
    Print,
    /// Says whether the settings are sound
    Check,
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kvdepotd: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<()> {
    let settings = cli.settings.sources().load()?;
    match cli.command {
        None => serve(settings),
        Some(Command::Config { action: ConfigAction::Print }) => {
            print!("{}", settings.to_toml());
            Ok(())
        }
        Some(Command::Config { action: ConfigAction::Check }) => {
            println!("the settings are sound");
            Ok(())
        }
    }
}

fn serve(settings: Settings) -> anyhow::Result<()> {
    logging::start(&settings.log)?;
    raise_open_files();
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let daemon = Daemon::start(settings).await.context("cannot start")?;
        let endpoints = daemon.endpoints();
        println!("kvdepotd serves gRPC on https://{} and QUIC on {}", endpoints.grpc, endpoints.quic);
        let mut signalled = async || {
            tokio::select! {
                _ = interrupt.recv() => "SIGINT",
                _ = terminate.recv() => "SIGTERM",
            }
        };
        // Awaited outside of the event, whose fields are not evaluated where its level is filtered out.
        let signal = signalled().await;
        tracing::info!(signal, "stopping: a second signal stops at once");
        tokio::select! {
            stopped = daemon.shutdown() => stopped.context("cannot close the store"),
            again = signalled() => anyhow::bail!("stopped at once by a second signal, {again}"),
        }
    })
}

/// Segments in shared memory have a descriptor each: as many as this user may have.
fn raise_open_files() {
    let most = getrlimit(Resource::Nofile).maximum;
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most }) {
        tracing::warn!(?most, %error, "cannot raise the number of open files");
    }
}

impl SettingsArgs {
    fn sources(self) -> Sources {
        let named = [("data_dir", self.data_dir), ("store.quota_bytes", self.quota)];
        let named = named.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        Sources::of_process(self.config, named.chain(self.other).collect())
    }
}

fn key_and_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or_else(|| format!("{text:?} has no '=': write KEY=VALUE"))?;
    Ok((key.to_owned(), value.to_owned()))
}
