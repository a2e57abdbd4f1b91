//! The decoder's thread.

use std::time::Instant;

use super::Decoder;
use super::board::{Board, Job};

/// Decodes what the board has, chunk by chunk, until it is closed.
pub(super) fn run<D: Decoder>(board: &Board<D::Kv>, decoder: &D) {
    while let Some(job) = board.next_job() {
        let started = Instant::now();
        let Job { geometry, num_tokens, segments, .. } = &job;
        let decoded = decoder.decode(*geometry, *num_tokens, segments);
        board.settle(&job, decoded, started.elapsed());
    }
}
