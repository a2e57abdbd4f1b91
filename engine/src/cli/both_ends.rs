//! Where client and engine meet: a fetch from both ends, and one layer by layer.

use kvdepot_client::{ArrivingLayers, Engine};
use kvdepot_codec::KvChunk;
use kvdepot_engine::{LayerFeed, Prefix, Runner};
use kvdepot_proto::stream::EngineCosts;

/// A runner, and the prefix that is put together in its pages.
pub(super) struct RunnerEnd<'a> {
    pub(super) runner: &'a Runner,
    pub(super) tokens: &'a [u32],
    pub(super) prefix: Prefix,
}

impl Engine for RunnerEnd<'_> {
    type Kv = KvChunk;
    type Error = anyhow::Error;

    fn costs(&self) -> Option<EngineCosts> {
        None
    }

    fn compute(&mut self, end: usize) -> anyhow::Result<()> {
        let start = self.prefix.tokens().len();
        self.runner.prefill(&mut self.prefix, &self.tokens[start..end], |_| {})?;
        Ok(())
    }

    fn append(&mut self, num_tokens: usize, kv: KvChunk) -> anyhow::Result<()> {
        let start = self.prefix.tokens().len();
        self.runner.append(&mut self.prefix, &self.tokens[start..start + num_tokens], &kv)?;
        Ok(())
    }

    fn truncate(&mut self, num_tokens: usize) -> anyhow::Result<()> {
        Ok(self.runner.truncate(&mut self.prefix, num_tokens)?)
    }
}

/// Layers as the client gives them.
pub(super) struct Layers(pub(super) ArrivingLayers);

impl LayerFeed for Layers {
    type Error = anyhow::Error;

    fn layer(&mut self, layer: usize) -> anyhow::Result<&[KvChunk]> {
        Ok(self.0.layer(layer)?)
    }
}
