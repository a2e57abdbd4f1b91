//! How fast KV comes out of a depot on this machine: a real `kvdepotd`, the real client library, loopback.
//!
//! `cargo build --release --workspace --bins && cargo bench --workspace --bench pipe` prints a table; `-- --json` one JSON object.

mod clock;
mod context;
mod host;
mod many;
mod matching;
mod report;
mod throughput;

use std::time::Duration;

use anyhow::Result;
use clap::Parser;
use kvdepot_client::TransportChoice;
use kvdepot_codec::Level;

use clock::memcpy_gb_per_sec;
use context::Shape;
use host::{Context, Host};
use report::Report;
use throughput::Run;

/// Measures the way from a depot to a receiver on the same machine.
#[derive(Parser)]
struct Args {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Seconds for each figure
    #[arg(long, default_value = "3")]
    secs: f64,
    /// Chunks of 256 tokens in the context
    #[arg(long, default_value = "8")]
    chunks: usize,
    /// Figures to measure, by the beginning of their names; all when left out
    #[arg(long)]
    only: Vec<String>,
    /// Settings of the daemon, such as quic.max_datagram_bytes=9000; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
    /// What `cargo bench` passes
    #[arg(long, hide = true)]
    bench: bool,
}

impl Args {
    fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| name.starts_with(only.as_str()))
    }

    fn run<'a>(&self, name: &'a str, transport: TransportChoice, host: &'a Host, context: &'a Context) -> Run<'a> {
        Run { name, transport, host, context, time: self.time() }
    }

    fn time(&self) -> Duration {
        Duration::from_secs_f64(self.secs)
    }
}

fn main() -> Result<()> {
    let args = Args::parse();
    let runtime = tokio::runtime::Runtime::new()?;
    let report = runtime.block_on(measure(&args))?;
    report.print(args.json)
}

async fn measure(args: &Args) -> Result<Report> {
    let mut report = Report::default();
    report.add("memcpy", "GB/s", memcpy_gb_per_sec(args.time().min(Duration::from_secs(1))));
    for (name, datagram_bytes) in [("large", 65_000), ("1452", 1_452)] {
        if args.wants(name) {
            let host = Host::start(&[("quic.max_datagram_bytes", datagram_bytes.to_string())], &args.settings)?;
            let context = host.put(&Shape::llama(args.chunks, Level::Q0)).await?;
            args.run(name, TransportChoice::Quic, &host, &context).payload(&mut report).await?;
            if args.wants("local") && name == "large" {
                args.run("local", TransportChoice::Local, &host, &context).payload(&mut report).await?;
            }
        }
    }
    let host = Host::start(&[], &args.settings)?;
    let planes = [("QUIC", TransportChoice::Quic), ("local", TransportChoice::Local)];
    if args.wants("segment") {
        let context = host.put(&Shape::one_mib()).await?;
        for (plane, transport) in planes {
            args.run(&format!("segment, {plane}"), transport, &host, &context).latency(&mut report).await?;
        }
    }
    if args.wants("decoded") {
        let context = host.put(&Shape::llama(args.chunks, Level::Q3)).await?;
        for (plane, transport) in planes {
            args.run(&format!("decoded q3, {plane}"), transport, &host, &context).decoded(&mut report).await?;
        }
    }
    if args.wants("match") {
        matching::measure(&host, args.time(), &mut report).await?;
    }
    if args.wants("many") {
        let context = host.put(&Shape::llama(1, Level::Q2)).await?;
        many::measure(&host, &context, &mut report).await?;
    }
    Ok(report)
}
