//! Whether it helps to compute the first tokens after a prefix while its layers come: the bundled model, a real `kvdepotd`, a path
//! with a rate and a delay. Both ways take turns.
//!
//! `cargo build --release --workspace --bins && cargo bench --workspace --bench layers` prints a table of medians.

use std::time::{Duration, Instant};

use clap::Parser;
use kvdepot_client::{ArrivingLayers, Client, ConnectOptions, FetchRequest, TransportChoice};
use kvdepot_codec::{KvChunk, Level};
use kvdepot_engine::LayerFeed;
use kvdepot_tests::{Path, Relay, StoredModel};
use tokio::runtime::Runtime;

/// Measures the time to the first token after a stored prefix.
#[derive(Parser)]
struct Args {
    /// Tokens of the prefix
    #[arg(long, default_value_t = 3_000)]
    tokens: usize,
    /// Fetches of each kind
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// Mbit/s of the path
    #[arg(long, value_delimiter = ',', default_value = "50,200,1000")]
    mbit_per_sec: Vec<f64>,
    /// Tokens after the prefix
    #[arg(long, value_delimiter = ',', default_value = "16,256")]
    suffix: Vec<usize>,
    /// What `cargo bench` passes
    #[arg(long, hide = true)]
    bench: bool,
}

struct Feed(ArrivingLayers);

impl LayerFeed for Feed {
    type Error = anyhow::Error;

    fn layer(&mut self, layer: usize) -> anyhow::Result<&[KvChunk]> {
        Ok(self.0.layer(layer)?)
    }
}

/// A receiver, and the stored prefix that it asks for.
struct Receiver<'a> {
    runtime: &'a Runtime,
    client: Client,
    stored: &'a StoredModel,
    _relay: Relay,
}

impl<'a> Receiver<'a> {
    fn behind(path: Path, runtime: &'a Runtime, stored: &'a StoredModel) -> anyhow::Result<Self> {
        let relay = Relay::start(stored.depot.endpoints().quic.parse()?, path)?;
        let quic_address = Some(relay.address());
        let options = ConnectOptions { transport: TransportChoice::Quic, quic_address, ..stored.options() };
        let client = runtime.block_on(Client::connect(&options))?;
        Ok(Self { runtime, client, stored, _relay: relay })
    }

    fn loaded_first(&self, suffix: &[u32]) -> anyhow::Result<Duration> {
        let (started, StoredModel { runner, tokens, scope, .. }) = (Instant::now(), self.stored);
        let request = FetchRequest::tokens(scope.clone(), tokens.clone());
        let fetched = self.runtime.block_on(self.client.fetch_kv(&request, |_| ()))?;
        let mut prefix = runner.import(tokens, &fetched.chunks)?;
        let (last, rest) = suffix.split_last().ok_or_else(|| anyhow::anyhow!("no suffix"))?;
        runner.prefill(&mut prefix, rest, |_| {})?;
        runner.continuation_logits(&prefix, &[*last])?;
        Ok(started.elapsed())
    }

    fn layerwise(&self, suffix: &[u32]) -> anyhow::Result<Duration> {
        let (started, StoredModel { runner, tokens, scope, .. }) = (Instant::now(), self.stored);
        let mut feed = Feed(self.client.fetch_layers(self.runtime.handle(), scope, tokens)?);
        runner.continue_layerwise(tokens, suffix, &mut feed)?;
        Ok(started.elapsed())
    }
}

fn main() -> anyhow::Result<()> {
    let (args, runtime) = (Args::parse(), Runtime::new()?);
    let stored = runtime.block_on(StoredModel::put(Level::Q3, args.tokens))?;
    println!("{} tokens at q3, medians of {}, ms", args.tokens, args.rounds);
    println!("Mbit/s  suffix  loaded first  layer by layer");
    for mbit in &args.mbit_per_sec {
        let path = Path { bytes_per_sec: Some(mbit * 1e6 / 8.0), ..Path::default() };
        let receiver = Receiver::behind(path, &runtime, &stored)?;
        for num_tokens in &args.suffix {
            let suffix = stored.suffix(*num_tokens);
            let (mut first, mut layers) = (Vec::new(), Vec::new());
            for _ in 0..args.rounds {
                first.push(receiver.loaded_first(&suffix)?);
                layers.push(receiver.layerwise(&suffix)?);
            }
            println!("{mbit:6}  {num_tokens:6}  {:12.1}  {:14.1}", median_ms(&mut first), median_ms(&mut layers));
        }
    }
    Ok(())
}

fn median_ms(times: &mut [Duration]) -> f64 {
    times.sort_unstable();
    1e3 * times[times.len() / 2].as_secs_f64()
}
