//! An engine that computes its first layers while later ones of the prefix are on the wire ends up with the same bits as one that
//! loads everything first, or with nothing.

use std::time::Duration;

use kvdepot_client::{ArrivingLayers, Client, ConnectOptions, ErrorKind, FetchRequest, TransportChoice};
use kvdepot_codec::{KvChunk, Level};
use kvdepot_engine::{LayerFeed, Logits, Prefix};
use kvdepot_tests::{Path, Relay, StoredModel};
use tokio::runtime::Runtime;

/// Two whole chunks and a short one.
const NUM_TOKENS: usize = 600;

struct Feed(ArrivingLayers);

impl LayerFeed for Feed {
    type Error = anyhow::Error;

    fn layer(&mut self, layer: usize) -> anyhow::Result<&[KvChunk]> {
        Ok(self.0.layer(layer)?)
    }
}

/// The KV of a prefix, and the logits after its last token.
type Outcome = (KvChunk, Vec<u32>);

fn outcome(stored: &StoredModel, prefix: &Prefix, logits: &Logits) -> anyhow::Result<Outcome> {
    let bits = logits.row(0).iter().map(|logit| logit.to_bits()).collect();
    Ok((stored.runner.export(prefix, 0..prefix.tokens().len())?, bits))
}

fn loaded_first(runtime: &Runtime, client: &Client, stored: &StoredModel, suffix: &[u32]) -> anyhow::Result<Outcome> {
    let request = FetchRequest::tokens(stored.scope.clone(), stored.tokens.clone());
    let fetched = runtime.block_on(client.fetch_kv(&request, |_| ()))?;
    let mut prefix = stored.runner.import(&stored.tokens, &fetched.chunks)?;
    stored.runner.prefill(&mut prefix, suffix, |_| {})?;
    let logits = stored.runner.continuation_logits(&prefix, &[1])?;
    outcome(stored, &prefix, &logits)
}

fn layerwise(runtime: &Runtime, client: &Client, stored: &StoredModel, suffix: &[u32]) -> anyhow::Result<Outcome> {
    let mut feed = Feed(client.fetch_layers(runtime.handle(), &stored.scope, &stored.tokens)?);
    let (prefix, logits) = stored.runner.continue_layerwise(&stored.tokens, suffix, &mut feed)?;
    assert!(feed.0.report().payload_bytes > 0);
    outcome(stored, &prefix, &logits)
}

#[test]
fn what_is_computed_while_layers_come_is_what_is_computed_after_them() -> anyhow::Result<()> {
    let runtime = Runtime::new()?;
    for level in [Level::Q0, Level::Q3] {
        let stored = runtime.block_on(StoredModel::put(level, NUM_TOKENS))?;
        for transport in [TransportChoice::Quic, TransportChoice::Local, TransportChoice::Grpc] {
            let options = ConnectOptions { transport, ..stored.options() };
            let client = runtime.block_on(Client::connect(&options))?;
            // The last one takes two steps.
            for num_tokens in [1, 7, 300] {
                let suffix = stored.suffix(num_tokens);
                let before = loaded_first(&runtime, &client, &stored, &suffix)?;
                let meanwhile = layerwise(&runtime, &client, &stored, &suffix)?;
                assert!(before == meanwhile, "{level:?}, {transport:?}, {num_tokens} tokens");
            }
        }
    }
    Ok(())
}

#[test]
fn a_prefix_that_breaks_off_leaves_nothing_behind() -> anyhow::Result<()> {
    let runtime = Runtime::new()?;
    let stored = runtime.block_on(StoredModel::put(Level::Q0, NUM_TOKENS))?;
    // The whole would take minutes.
    let path = Path { bytes_per_sec: Some(20_000.0), ..Path::default() };
    let relay = Relay::start(stored.depot.endpoints().quic.parse()?, path)?;
    let options = ConnectOptions {
        transport: TransportChoice::Quic,
        quic_address: Some(relay.address()),
        resume_within: Duration::ZERO,
        ..stored.options()
    };
    let client = runtime.block_on(Client::connect(&options))?;
    let mut feed = Feed(client.fetch_layers(runtime.handle(), &stored.scope, &stored.tokens)?);
    let StoredModel { depot, runner, tokens, .. } = stored;
    depot.kill9()?;
    let error = runner.continue_layerwise(&tokens, &[1], &mut feed).expect_err("the depot is gone");
    let kind = error.downcast_ref::<kvdepot_client::Error>().map(kvdepot_client::Error::kind);
    assert_eq!(kind, Some(ErrorKind::Unavailable), "{error}");
    assert_eq!(runner.pool().used_bytes(), 0);
    Ok(())
}

#[test]
fn what_is_not_stored_is_a_manifest_without_chunks() -> anyhow::Result<()> {
    let runtime = Runtime::new()?;
    let stored = runtime.block_on(StoredModel::put(Level::Q0, NUM_TOKENS))?;
    let client = runtime.block_on(Client::connect(&stored.options()))?;
    let other = stored.suffix(NUM_TOKENS);
    let mut layers = client.fetch_layers(runtime.handle(), &stored.scope, &other)?;
    assert_eq!(layers.manifest().chunks.len(), 0);
    assert_eq!(layers.layer(0)?, []);
    Ok(())
}
