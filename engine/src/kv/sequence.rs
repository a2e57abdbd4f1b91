//! The KV of one sequence of tokens: a list of pages.

use std::sync::Arc;

use kvdepot_codec::Side;

use super::{KvLayout, KvPool, Page};
use crate::Result;
use crate::simd::PAGE_TOKENS;

/// Pages of one sequence, from position 0; those past its length are reserved for what is to come.
#[derive(Debug, Default)]
pub(crate) struct Sequence {
    pages: Vec<Arc<Page>>,
    num_tokens: usize,
}

impl Sequence {
    /// Tokens whose KV is held.
    pub(crate) fn num_tokens(&self) -> usize {
        self.num_tokens
    }

    pub(crate) fn pages(&self) -> &[Arc<Page>] {
        &self.pages
    }

    /// A sequence of full pages.
    pub(crate) fn of_full_pages(pages: Vec<Arc<Page>>) -> Self {
        let num_tokens = pages.len() * PAGE_TOKENS;
        Self { pages, num_tokens }
    }

    /// The pages that are full, which may be put in each other's place where they hold the same.
    pub(crate) fn full_pages(&mut self) -> &mut [Arc<Page>] {
        &mut self.pages[..self.num_tokens / PAGE_TOKENS]
    }

    /// Makes sure that `num_tokens` tokens have pages.
    ///
    /// # Errors
    /// `Busy` when the pool has no room for them; the sequence is as it was.
    pub(crate) fn reserve(&mut self, pool: &KvPool, num_tokens: usize) -> Result<()> {
        let missing = num_tokens.div_ceil(PAGE_TOKENS).saturating_sub(self.pages.len());
        self.pages.extend(pool.allocate(missing)?);
        Ok(())
    }

    /// A sequence of the first `num_tokens` tokens with room for `capacity`: full pages are shared, the rest of a
    /// partial one is copied.
    ///
    /// # Errors
    /// `Busy` when the pool has no room for the pages that are not shared.
    pub(crate) fn fork(&self, pool: &KvPool, num_tokens: usize, capacity: usize) -> Result<Self> {
        let full = num_tokens / PAGE_TOKENS;
        let mut fork = Self { pages: self.pages[..full].to_vec(), num_tokens };
        fork.reserve(pool, capacity.max(num_tokens))?;
        if !num_tokens.is_multiple_of(PAGE_TOKENS) {
            fork.own_page(full).lines_mut().copy_from_slice(self.pages[full].lines());
        }
        Ok(fork)
    }

    /// Writes the key or value of one token, layer and head.
    pub(crate) fn write(
        &mut self,
        layout: &KvLayout,
        (layer, kv_head, side): (usize, usize, Side),
        position: usize,
        values: &[f32],
    ) {
        let start = layout.lines(layer, kv_head, side).start;
        let lines = self.own_page(position / PAGE_TOKENS).lines_mut();
        for (channel, &value) in values.iter().enumerate() {
            let place = layout.place(side, start, position % PAGE_TOKENS, channel);
            let word = &mut lines[place.line].0[place.lane];
            layout.precision.insert(word, place.idx, layout.precision.to_bits(value));
        }
    }

    /// Counts `num_tokens` more tokens, whose keys and values have been written in every layer.
    pub(crate) fn commit(&mut self, num_tokens: usize) {
        self.num_tokens += num_tokens;
    }

    /// A page to write to.
    ///
    /// # Panics
    /// When another sequence holds it too: only full pages are ever shared, and those are not written.
    pub(crate) fn own_page(&mut self, idx: usize) -> &mut Page {
        Arc::get_mut(&mut self.pages[idx]).expect("a page that is not full belongs to one sequence")
    }
}
