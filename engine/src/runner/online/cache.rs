//! KV that was computed and may be asked for again.

use std::collections::HashMap;
use std::sync::Arc;

use crate::kv::Page;
use crate::simd::PAGE_TOKENS;

/// Full pages by the tokens that lead to them, kept while there is room.
///
/// A page is found only behind the one before it, and goes only after the ones behind it, those least recently used first.
#[derive(Debug, Default)]
pub(super) struct PageCache {
    entries: HashMap<Key, Entry>,
    /// Counts what was ever put in, and how often something was used.
    clock: u64,
}

/// A page's tokens, behind the page before it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    before: Option<u64>,
    tokens: [u32; PAGE_TOKENS],
}

#[derive(Debug)]
struct Entry {
    id: u64,
    page: Arc<Page>,
    /// Pages directly behind it.
    num_next: usize,
    used_at: u64,
}

impl PageCache {
    /// Pages of the longest prefix of `tokens` that is there.
    pub(super) fn find(&mut self, tokens: &[u32]) -> Vec<Arc<Page>> {
        self.clock += 1;
        let (clock, mut before, mut found) = (self.clock, None, Vec::new());
        for tokens in tokens.as_chunks().0 {
            let Some(entry) = self.entries.get_mut(&Key { before, tokens: *tokens }) else { break };
            entry.used_at = clock;
            before = Some(entry.id);
            found.push(Arc::clone(&entry.page));
        }
        found
    }

    /// Keeps the pages of leading tokens, and puts those that were there before in the place of equal ones.
    pub(super) fn keep(&mut self, tokens: &[u32], pages: &mut [Arc<Page>]) {
        self.clock += 1;
        let mut above: Option<Key> = None;
        for (tokens, page) in tokens.as_chunks().0.iter().zip(pages) {
            let before = above.as_ref().and_then(|above| self.entries.get(above)).map(|entry| entry.id);
            let key = Key { before, tokens: *tokens };
            match self.entries.get_mut(&key) {
                Some(entry) => {
                    entry.used_at = self.clock;
                    page.clone_from(&entry.page);
                }
                None => self.add(key.clone(), above.as_ref(), Arc::clone(page)),
            }
            above = Some(key);
        }
    }

    fn add(&mut self, key: Key, above: Option<&Key>, page: Arc<Page>) {
        if let Some(above) = above.and_then(|above| self.entries.get_mut(above)) {
            above.num_next += 1;
        }
        self.clock += 1;
        self.entries.insert(key, Entry { id: self.clock, page, num_next: 0, used_at: self.clock });
    }

    /// Drops pages that nobody uses, until `num_pages` are gone or nothing more can go.
    pub(super) fn evict(&mut self, num_pages: usize) {
        let mut gone = 0;
        while gone < num_pages {
            let unused = |entry: &&Entry| entry.num_next == 0 && Arc::strong_count(&entry.page) == 1;
            let mut unused: Vec<(u64, u64)> =
                self.entries.values().filter(unused).map(|entry| (entry.used_at, entry.id)).collect();
            if unused.is_empty() {
                return;
            }
            unused.sort_unstable();
            unused.truncate(num_pages - gone);
            gone += unused.len();
            self.remove(&unused.into_iter().map(|(_, id)| id).collect());
        }
    }

    fn remove(&mut self, ids: &std::collections::HashSet<u64>) {
        let mut lost: HashMap<u64, usize> = HashMap::new();
        self.entries.retain(|key, entry| {
            let stays = !ids.contains(&entry.id);
            if let (false, Some(before)) = (stays, key.before) {
                *lost.entry(before).or_default() += 1;
            }
            stays
        });
        self.entries.values_mut().for_each(|entry| entry.num_next -= lost.get(&entry.id).copied().unwrap_or(0));
    }
}
