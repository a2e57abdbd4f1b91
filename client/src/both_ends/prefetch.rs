//! A prefix that comes ahead of its turn: the network's end alone, for an engine that is busy with something else meanwhile.

use std::sync::Arc;
use std::time::Duration;

use kvdepot_codec::{KvChunk, Level};
use kvdepot_proto::Scope;
use kvdepot_proto::stream::{Goal, Wants};
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::board::{Board, Contents};
use super::{BothEnds, CpuDecoder, decoding, fetch};
use crate::Client;

/// A stored prefix on its way, chunks from its back first. Dropping it takes back what has not come.
pub struct Prefetch {
    board: Arc<Board<KvChunk>>,
    say: watch::Sender<Wants>,
    /// Position of the first token that comes.
    start: usize,
}

/// What has come of a [`Prefetch`].
#[derive(Debug)]
pub enum Prefetched {
    /// Something is missing still. It will take so long, if that can be told.
    Pending(Option<Duration>),
    /// All of it: chunks in order, each with the position of its first token.
    Ready(Vec<(usize, KvChunk)>),
    /// Nothing more comes, and something is missing.
    Failed(String),
}

impl Client {
    /// Fetches the longest stored prefix of `tokens` without its first `skip_chunks` chunks, which have `chunk_tokens` tokens
    /// each, and decodes it; all on threads of `runtime`.
    pub fn prefetch(
        &self,
        runtime: &Handle,
        (scope, tokens): (&Scope, &[u32]),
        skip_chunks: u32,
        chunk_tokens: usize,
    ) -> Prefetch {
        let goal = Goal { qualities: Level::MAX_QUALITIES, deadline: None };
        let board = Arc::new(Board::new(goal));
        let (say, wants) = watch::channel(Wants::new(0, goal.qualities));
        let what = BothEnds { scope, tokens, goal };
        runtime.spawn(fetch(self.clone(), what, skip_chunks, Arc::clone(&board), wants));
        let of_decoder = Arc::clone(&board);
        runtime.spawn_blocking(move || decoding::run(&*of_decoder, &CpuDecoder));
        Prefetch { board, say, start: (skip_chunks as usize).saturating_mul(chunk_tokens) }
    }
}

impl Prefetch {
    /// What has come. Chunks of tokens before position `held_tokens` are not needed any more.
    pub fn take(&self, held_tokens: usize) -> Prefetched {
        let mut contents = self.board.lock();
        let (first_chunk, mut start) = self.first_needed(&contents, held_tokens);
        contents.first_chunk = first_chunk;
        let needed = first_chunk..contents.loads.len();
        let qualities = self.board.goal.qualities;
        if !needed.is_empty() && contents.loads[needed.clone()].iter().all(|load| load.is_ready(qualities)) {
            let mut chunks = Vec::with_capacity(needed.len());
            for chunk_idx in needed {
                let Some(kv) = contents.take_kv(chunk_idx) else {
                    return Prefetched::Failed("taken before".to_owned());
                };
                let num_tokens = kv.num_tokens();
                chunks.push((start, kv));
                start += num_tokens;
            }
            return Prefetched::Ready(chunks);
        }
        if contents.has_ended && !contents.is_decoding(self.board.goal) {
            let reason = contents.failure.clone();
            return Prefetched::Failed(reason.unwrap_or_else(|| "it is not stored any more".to_owned()));
        }
        let left = time_left(&mut contents, self.board.started.elapsed(), qualities);
        drop(contents);
        self.tell(first_chunk);
        Prefetched::Pending(left)
    }

    /// Bytes that have come.
    pub fn payload_bytes(&self) -> u64 {
        self.board.lock().payload_bytes
    }

    /// Waits until something changes, for at most so long.
    pub fn wait(&self, most: Duration) {
        drop(self.board.wait(self.board.lock(), most));
    }

    /// The first chunk that has a token from `held_tokens` on, and its first token's position.
    fn first_needed(&self, contents: &Contents<KvChunk>, held_tokens: usize) -> (usize, usize) {
        let mut start = self.start;
        for (chunk_idx, load) in contents.loads.iter().enumerate() {
            let end = start + load.num_tokens as usize;
            if end > held_tokens {
                return (chunk_idx, start);
            }
            start = end;
        }
        (contents.loads.len(), start)
    }

    /// Tells the depot what is wanted still.
    fn tell(&self, first_chunk: usize) {
        let first_chunk = u32::try_from(first_chunk).unwrap_or(u32::MAX);
        self.say.send_if_modified(|wants| wants.adjust(first_chunk, wants.max_qualities()));
    }
}

/// How long the rest of what is needed will take to come.
fn time_left(contents: &mut Contents<KvChunk>, now: Duration, qualities: u8) -> Option<Duration> {
    let bytes_per_sec = contents.bytes_per_sec(now).filter(|rate| *rate > 0.0)?;
    let needed = contents.loads.iter().skip(contents.first_chunk);
    let missing_bytes: u64 = needed.map(|load| load.missing_bytes(qualities)).sum();
    Duration::try_from_secs_f64(missing_bytes as f64 / bytes_per_sec).ok()
}

impl Drop for Prefetch {
    fn drop(&mut self) {
        self.board.close();
        self.say.send_replace(Wants::new(u32::MAX, 0));
    }
}
