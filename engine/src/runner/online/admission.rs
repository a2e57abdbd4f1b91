//! When a request begins.

use std::sync::Arc;

use super::{Online, Running};
use crate::kv::{Page, Sequence};
use crate::runner::Request;
use crate::runner::member::Member;
use crate::simd::PAGE_TOKENS;

/// A request that has not begun.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) id: usize,
    arrival: u64,
    request: Box<Request>,
}

impl Waiting {
    pub(super) fn new(id: usize, arrival: u64, request: Request) -> Self {
        Self { id, arrival, request: Box::new(request) }
    }

    /// Tokens that it has pages for in the end: the last one that is decoded needs none.
    fn num_tokens(&self) -> usize {
        self.request.suffix.len() + self.request.max_tokens - 1
    }

    /// Pages that it takes at most.
    pub(super) fn num_pages(&self) -> usize {
        self.num_tokens().div_ceil(PAGE_TOKENS)
    }

    /// What it may take from others: all but its context's last token, whose logits are wanted.
    fn reusable(&self) -> &[u32] {
        &self.request.suffix[..self.request.suffix.len() - 1]
    }
}

/// Whether a request may begin.
enum Admission {
    /// With these pages of its prefix.
    Now(Vec<Arc<Page>>),
    /// Another one is computing what it needs.
    Joins,
    NoRoom,
}

impl Online<'_> {
    /// Begins what fits, in the order of arrival; only what waits for others is overtaken.
    pub(super) fn admit(&mut self) {
        let mut idx = 0;
        while idx < self.waiting.len() {
            match self.admission(idx) {
                Admission::Joins => idx += 1,
                Admission::NoRoom => return,
                Admission::Now(pages) => {
                    if let Some(waiting) = self.waiting.remove(idx) {
                        self.begin(waiting, pages);
                    }
                }
            }
        }
    }

    fn admission(&mut self, idx: usize) -> Admission {
        let waiting = &self.waiting[idx];
        let pages = self.cache.find(waiting.reusable());
        if self.running.iter().any(|running| running.will_have(waiting.reusable()) > pages.len()) {
            return Admission::Joins;
        }
        let missing = waiting.num_pages() - pages.len();
        if self.make_room(missing) { Admission::Now(pages) } else { Admission::NoRoom }
    }

    /// Frees pages that nobody uses where so many are not free; gives whether they are then.
    pub(super) fn make_room(&mut self, num_pages: usize) -> bool {
        let free = self.runner.limits().pages;
        if free < num_pages {
            self.cache.evict(num_pages - free);
        }
        self.runner.limits().pages >= num_pages
    }

    fn begin(&mut self, Waiting { id, arrival, request }: Waiting, pages: Vec<Arc<Page>>) {
        let (kept_pages, reused_tokens) = (pages.len(), pages.len() * PAGE_TOKENS);
        let mut sequence = Sequence::of_full_pages(pages);
        let capacity = request.suffix.len() + request.max_tokens - 1;
        let failure = sequence.reserve(&self.runner.pool, capacity).err();
        let pending = request.suffix[reused_tokens..].to_vec();
        let place = self.running.partition_point(|other| other.member.request.suffix <= request.suffix);
        let member = Member::new(request, sequence, pending);
        self.running.insert(place, Running { id, arrival, reused_tokens, kept_pages, member, failure });
    }
}

impl Running {
    /// Leading pages of some tokens that it is going to compute, or has computed.
    fn will_have(&self, tokens: &[u32]) -> usize {
        let context = &self.member.request.suffix;
        if self.kept_pages >= context.len() / PAGE_TOKENS {
            return 0;
        }
        tokens.iter().zip(context).take_while(|(a, b)| a == b).count() / PAGE_TOKENS
    }
}
