//! The bundled model, and a context of it in a depot.

use std::path::PathBuf;

use kvdepot_client::{Client, ConnectOptions, EncodedChunk};
use kvdepot_codec::{EncodeOptions, Level, encode};
use kvdepot_engine::{Model, Prefix, Runner, Settings};
use kvdepot_proto::{KvSpec, Scope};
use rand::{Rng, SeedableRng, rngs::StdRng};
use tempfile::TempDir;

use crate::{DepotProcess, spec_of};

/// Tokens of the chunks that a depot keeps.
const CHUNK_TOKENS: usize = 256;

/// A depot with a context in it that the bundled model computed.
#[derive(Debug)]
pub struct StoredModel {
    /// The depot.
    pub depot: DepotProcess,
    /// The model.
    pub runner: Runner,
    /// The context.
    pub tokens: Vec<u32>,
    /// Where it is.
    pub scope: Scope,
    _dir: TempDir,
}

impl StoredModel {
    /// Where the model is.
    pub fn dir() -> PathBuf {
        PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../model"))
    }

    /// Starts a depot, computes a context of so many random tokens and puts it.
    ///
    /// # Errors
    /// Those of depot and engine.
    pub async fn put(level: Level, num_tokens: usize) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let depot = DepotProcess::start(dir.path(), &[])?;
        let runner = Runner::new(Model::load(&Self::dir(), None)?, Settings::default());
        let tokens = random_tokens(&runner, num_tokens, 3);
        let rope = runner.model().config().rope;
        let spec = KvSpec { rope: (&rope).into(), ..spec_of(runner.geometry()) };
        let scope = Scope { lossy: !level.is_lossless(), ..Scope::exact(spec) };
        let stored = Self { depot, runner, tokens, scope, _dir: dir };
        let client = Client::connect(&stored.depot.connect_options()).await?;
        client.put(&stored.scope, &stored.tokens, &stored.encoded(level)?, |_| ()).await?;
        Ok(stored)
    }

    /// Tokens that follow the context.
    pub fn suffix(&self, num_tokens: usize) -> Vec<u32> {
        random_tokens(&self.runner, num_tokens, 4)
    }

    /// How to reach the depot.
    pub fn options(&self) -> ConnectOptions {
        self.depot.connect_options()
    }

    fn encoded(&self, level: Level) -> anyhow::Result<Vec<EncodedChunk>> {
        let mut prefix = Prefix::default();
        self.runner.prefill(&mut prefix, &self.tokens, |_| {})?;
        let encode_from = |start: usize| {
            let chunk = self.runner.export(&prefix, start..self.tokens.len().min(start + CHUNK_TOKENS))?;
            let options = EncodeOptions::new(level).at(self.runner.model().config().rope, start as u64);
            Ok(EncodedChunk { level, segments: encode(&chunk, &options)? })
        };
        (0..self.tokens.len()).step_by(CHUNK_TOKENS).map(encode_from).collect()
    }
}

fn random_tokens(runner: &Runner, num_tokens: usize, seed: u64) -> Vec<u32> {
    let mut rng = StdRng::seed_from_u64(seed);
    let vocab = runner.model().config().vocab_size as u32;
    (0..num_tokens).map(|_| rng.random_range(1..vocab)).collect()
}
