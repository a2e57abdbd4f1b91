//! Bounds on what fetches hold, whatever the data plane.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kvdepot_proto::{Error, ErrorKind, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Most fetches that send at a time; others wait for their turn, first come, first served.
const MAX_FETCHES: usize = 256;

/// What all fetches over a network may have under way together, besides the first batch of each. Clones share it.
#[derive(Clone)]
pub(crate) struct Budget {
    turns: Arc<Semaphore>,
    under_way: Arc<AtomicU64>,
    limit_bytes: u64,
}

/// Bytes under way, until this is dropped.
pub(crate) struct Claim {
    under_way: Arc<AtomicU64>,
    bytes: u64,
}

impl Budget {
    pub(crate) fn new(limit_bytes: u64) -> Self {
        Self { turns: Arc::new(Semaphore::new(MAX_FETCHES)), under_way: Arc::default(), limit_bytes }
    }

    /// Waits for the turn of a fetch, which lasts until what this gives is dropped.
    ///
    /// # Cancel safety
    /// Dropping the future gives the place in the queue up.
    pub(crate) async fn turn(&self) -> Result<OwnedSemaphorePermit> {
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        turn.map_err(|_| Error::new(ErrorKind::Unavailable, "the daemon stops"))
    }

    /// Whether more may be begun.
    pub(crate) fn has_room(&self) -> bool {
        self.under_way.load(Ordering::Relaxed) < self.limit_bytes
    }

    /// Counts a batch of `bytes` as under way.
    pub(crate) fn claim(&self, bytes: u64) -> Claim {
        self.under_way.fetch_add(bytes, Ordering::Relaxed);
        Claim { under_way: Arc::clone(&self.under_way), bytes }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.under_way.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_under_way_fills_the_budget_until_it_has_arrived() {
        let budget = Budget::new(100);
        let claims = [budget.claim(60), budget.claim(70)];
        assert!(!budget.has_room());
        drop(claims);
        assert!(budget.has_room());
    }

    #[tokio::test]
    async fn a_fetch_waits_for_its_turn_and_gets_it() {
        let budget = Budget::new(0);
        let mut turns = Vec::new();
        for _ in 0..MAX_FETCHES {
            turns.push(budget.turn().await.unwrap());
        }
        let waiting = tokio::spawn({
            let budget = budget.clone();
            async move { budget.turn().await.map(drop) }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        turns.pop();
        waiting.await.unwrap().unwrap();
    }
}
