//! The way back: prefixes that were computed are encoded and put into the depot, beside the engine.

use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use kvdepot_client::{EncodedChunk, Error};
use kvdepot_codec::{KvChunk, Level, Rope};
use kvdepot_engine::Computed;
use kvdepot_proto::Scope;
use rayon::prelude::*;
use serde::Serialize;

use super::depot::{Depot, encode_at};
use super::engine::Engine;

/// Most KV that waits to be encoded; what would be more is not kept, so that a slow depot does not hold the engine up.
const MOST_WAITING_BYTES: usize = 1 << 30;

/// Puts contexts, one after another, on a thread of its own.
///
/// A context often has much in common with the one before: that is encoded once.
pub(super) struct Keeper {
    contexts: Sender<Context>,
    chunk_tokens: usize,
    /// Tokens of the context that was sent last.
    last: Vec<u32>,
    waiting_bytes: Arc<AtomicUsize>,
    skipped: usize,
    thread: JoinHandle<Kept>,
}

/// What is put into the depot: KV at a level, or nothing.
#[derive(Debug, Clone, Copy)]
pub(super) struct PutLevel(Option<Level>);

impl FromStr for PutLevel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = if text == "none" { Ok(None) } else { text.parse().map(Some) };
        parsed.map(Self).map_err(|error: kvdepot_codec::Error| error.to_string())
    }
}

impl PutLevel {
    /// What puts at this level, if anything does.
    ///
    /// # Errors
    /// `Invalid` for a lossy level in an exact scope; as the depot refuses.
    pub(super) fn keeper(
        self,
        engine: &Engine,
        depot: &Arc<Depot>,
        scope: &Scope,
    ) -> kvdepot_client::Result<Option<Keeper>> {
        let Some(level) = self.0 else { return Ok(None) };
        if !level.is_lossless() && !scope.lossy {
            return Err(Error::invalid(format!("--put {level} is lossy: pass --lossy too, or put q0")));
        }
        let rope = engine.runner.model().config().rope;
        let keeping = Keeping { depot: Arc::clone(depot), scope: scope.clone(), level, rope };
        Ok(Some(Keeper::new(keeping, depot.chunk_tokens()?)))
    }
}

/// How contexts are put.
struct Keeping {
    depot: Arc<Depot>,
    scope: Scope,
    level: Level,
    rope: Rope,
}

/// What was kept.
#[derive(Debug, Default, Serialize)]
pub(super) struct Kept {
    /// Prefixes that were put.
    pub(super) prefixes: usize,
    /// Bytes that this added to the depot.
    pub(super) new_bytes: u64,
    /// Prefixes that were not put because others were still waiting to be.
    pub(super) skipped: usize,
    /// Why the depot took no more.
    pub(super) failure: Option<String>,
}

/// A context whose KV is to be put.
struct Context {
    tokens: Vec<u32>,
    /// Leading chunks that are those of the context before.
    common_chunks: usize,
    /// The others.
    chunks: Vec<KvChunk>,
    kv_bytes: usize,
}

impl Keeper {
    fn new(keeping: Keeping, chunk_tokens: usize) -> Self {
        let (contexts, waiting) = channel();
        let waiting_bytes = Arc::new(AtomicUsize::new(0));
        let bytes = Arc::clone(&waiting_bytes);
        let thread = std::thread::spawn(move || keeping.run(&waiting, &bytes));
        Self { contexts, chunk_tokens, last: Vec::new(), waiting_bytes, skipped: 0, thread }
    }

    /// Takes the whole chunks of a prefix, if they hold something beyond its first `stored_tokens`.
    pub(super) fn offer(&mut self, computed: &Computed<'_>, stored_tokens: usize) {
        let chunk_tokens = self.chunk_tokens;
        let num_tokens = computed.tokens.len() / chunk_tokens * chunk_tokens;
        if num_tokens <= stored_tokens {
            return;
        }
        let tokens = computed.tokens[..num_tokens].to_vec();
        let common = tokens.iter().zip(&self.last).take_while(|(a, b)| a == b).count();
        let common_chunks = common / chunk_tokens;
        let starts = (common_chunks * chunk_tokens..num_tokens).step_by(chunk_tokens);
        let chunks: kvdepot_engine::Result<Vec<_>> =
            starts.map(|start| computed.export(start..start + chunk_tokens)).collect();
        let Ok(chunks) = chunks else { return };
        let kv_bytes = chunks.iter().map(|chunk| chunk.bytes().len()).sum();
        if self.waiting_bytes.load(Ordering::Relaxed) + kv_bytes > MOST_WAITING_BYTES {
            self.skipped += 1;
            return;
        }
        self.waiting_bytes.fetch_add(kv_bytes, Ordering::Relaxed);
        self.last.clone_from(&tokens);
        // The thread ends after this one only.
        let _ = self.contexts.send(Context { tokens, common_chunks, chunks, kv_bytes });
    }

    /// Waits until everything is put.
    pub(super) fn finish(self) -> Kept {
        drop(self.contexts);
        let kept = self
            .thread
            .join()
            .unwrap_or_else(|_| Kept { failure: Some("the thread that puts panicked".to_owned()), ..Kept::default() });
        Kept { skipped: self.skipped, ..kept }
    }
}

impl Keeping {
    fn run(self, contexts: &Receiver<Context>, waiting_bytes: &AtomicUsize) -> Kept {
        let mut kept = Kept::default();
        let mut encoded = Vec::new();
        for context in contexts {
            if kept.failure.is_none() {
                match self.put(&context, &mut encoded) {
                    Ok(new_bytes) => {
                        kept.prefixes += 1;
                        kept.new_bytes += new_bytes;
                    }
                    Err(error) => kept.failure = Some(format!("{error:#}")),
                }
            }
            waiting_bytes.fetch_sub(context.kv_bytes, Ordering::Relaxed);
        }
        kept
    }

    /// Puts a context; `encoded` are the chunks of the one before, and then of this one.
    fn put(&self, context: &Context, encoded: &mut Vec<EncodedChunk>) -> anyhow::Result<u64> {
        let encode_one = |(idx, chunk): (usize, &KvChunk)| {
            let start = (context.common_chunks + idx) * chunk.num_tokens();
            encode_at(chunk, self.level, self.rope, start)
        };
        let more: kvdepot_codec::Result<Vec<_>> = context.chunks.par_iter().enumerate().map(encode_one).collect();
        encoded.truncate(context.common_chunks);
        encoded.extend(more?);
        Ok(self.depot.put_quietly(&self.scope, &context.tokens, encoded)?.new_bytes)
    }
}
