//! The index against a naive model: a list of contexts, searched from the front.

use std::collections::{BTreeMap, BTreeSet};

use kvdepot_codec::Dtype;
use proptest::prelude::*;

use super::*;
use crate::testing::spec;
use kvdepot_proto::Scope;

const CHUNK_TOKENS: u32 = 4;
const CHUNK_BYTES: u64 = 10;

fn key() -> NamespaceKey {
    Scope::exact(spec(Dtype::F32)).key("")
}

fn facts(chunk: &kvdepot_proto::ChunkRef, now: UnixMs) -> ChunkFacts {
    ChunkFacts {
        id: chunk.id,
        parent: chunk.parent,
        start_token: chunk.start_token as u32,
        num_tokens: chunk.num_tokens as u32,
        stored_bytes: CHUNK_BYTES,
        instance: now,
        fingerprint: Fingerprint::new([0; 32]),
        last_used: now,
    }
}

fn insert_context(index: &mut Index, tokens: &[u32], now: UnixMs) -> Vec<ChunkId> {
    let chunks: Vec<_> = chain(&key(), tokens, CHUNK_TOKENS as usize).collect();
    for chunk in &chunks {
        index.insert(facts(chunk, now)).unwrap();
    }
    let ids: Vec<_> = chunks.iter().map(|chunk| chunk.id).collect();
    index.touch(&ids, now);
    ids
}

/// Chunks by all tokens up to their end, with the time of their last use.
#[derive(Default)]
struct Model(BTreeMap<Vec<u32>, UnixMs>);

impl Model {
    fn insert(&mut self, tokens: &[u32], now: UnixMs) {
        for end in (CHUNK_TOKENS as usize..tokens.len()).step_by(CHUNK_TOKENS as usize).chain([tokens.len()]) {
            self.0.insert(tokens[..end].to_vec(), now);
        }
    }

    fn matched(&self, tokens: &[u32]) -> usize {
        let chunk_tokens = CHUNK_TOKENS as usize;
        let mut end = 0;
        while end + chunk_tokens <= tokens.len() && self.0.contains_key(&tokens[..end + chunk_tokens]) {
            end += chunk_tokens;
        }
        let short = (end + 1..tokens.len().min(end + chunk_tokens - 1) + 1).rev();
        short.into_iter().find(|&short_end| self.0.contains_key(&tokens[..short_end])).unwrap_or(end)
    }

    /// Last use of the least recently used chunk that no other continues.
    fn oldest_leaf(&self) -> Option<UnixMs> {
        let continues = |tokens: &[u32], other: &[u32]| {
            tokens.len().is_multiple_of(CHUNK_TOKENS as usize)
                && other.len() > tokens.len()
                && other.starts_with(tokens)
        };
        let is_leaf = |tokens: &[u32]| !self.0.keys().any(|other| continues(tokens, other));
        self.0.iter().filter(|(tokens, _)| is_leaf(tokens)).map(|(_, used)| *used).min()
    }
}

#[derive(Debug, Clone)]
enum Operation {
    Put(Vec<u32>),
    Match(Vec<u32>),
    Evict,
}

fn operation() -> impl Strategy<Value = Operation> {
    // Two token values, so that contexts share prefixes.
    let tokens = || prop::collection::vec(0u32..2, 1..14);
    prop_oneof![
        3 => tokens().prop_map(Operation::Put),
        3 => tokens().prop_map(Operation::Match),
        1 => Just(Operation::Evict),
    ]
}

proptest! {
    #[test]
    fn index_agrees_with_a_list_of_contexts(operations in prop::collection::vec(operation(), 1..60)) {
        let mut index = Index::new(CHUNK_TOKENS, None);
        let mut model = Model::default();
        let mut tokens_of = BTreeMap::new();
        for (now, operation) in (1..).zip(operations) {
            match operation {
                Operation::Put(tokens) => {
                    for (id, end) in insert_context(&mut index, &tokens, now).into_iter().zip((4..).step_by(4)) {
                        tokens_of.insert(id, tokens[..tokens.len().min(end)].to_vec());
                    }
                    model.insert(&tokens, now);
                }
                Operation::Match(tokens) => {
                    let ids = index.match_prefix(&key(), &tokens);
                    let matched: usize = ids.iter().map(|id| index.chunk(id).unwrap().num_tokens as usize).sum();
                    prop_assert_eq!(matched, model.matched(&tokens));
                }
                Operation::Evict => {
                    let oldest = model.oldest_leaf();
                    let evicted = index.evict(1);
                    prop_assert_eq!(evicted.first().map(|chunk| chunk.last_used), oldest);
                    for chunk in evicted {
                        prop_assert!(model.0.remove(&tokens_of[&chunk.id]).is_some());
                    }
                }
            }
            prop_assert_eq!(index.num_chunks(), model.0.len());
            prop_assert_eq!(index.stored_bytes(), model.0.len() as u64 * CHUNK_BYTES);
        }
    }

    #[test]
    fn stored_and_reserved_bytes_never_exceed_the_quota(
        contexts in prop::collection::vec((prop::collection::vec(0u32..3, 1..20), any::<bool>()), 1..40),
        quota in 10u64..120,
    ) {
        let mut index = Index::new(CHUNK_TOKENS, Some(quota));
        let mut in_progress: Vec<(Vec<ChunkId>, u64)> = Vec::new();
        for (now, (tokens, finishes)) in (1..).zip(contexts) {
            let chunks: Vec<_> = chain(&key(), &tokens, CHUNK_TOKENS as usize).collect();
            let ids: Vec<_> = chunks.iter().map(|chunk| chunk.id).collect();
            index.lease(&ids);
            let missing: Vec<_> = chunks.iter().filter(|chunk| !index.contains(&chunk.id)).collect();
            let bytes = missing.len() as u64 * CHUNK_BYTES;
            let before = index.num_chunks();
            match index.reserve(bytes) {
                Ok(evicted) => prop_assert!(evicted.iter().all(|chunk| !index.is_leased(&chunk.id))),
                Err(error) => {
                    prop_assert_eq!(error.kind(), ErrorKind::Busy);
                    prop_assert_eq!(index.num_chunks(), before);
                    index.release(&ids);
                    continue;
                }
            }
            prop_assert!(index.stored_bytes + index.reserved_bytes <= quota);
            in_progress.push((ids, bytes));
            if finishes {
                let (ids, bytes) = in_progress.pop().unwrap();
                index.unreserve(bytes);
                missing.into_iter().for_each(|chunk| index.insert(facts(chunk, now)).unwrap());
                index.release(&ids);
            }
            prop_assert!(index.stored_bytes + index.reserved_bytes <= quota);
        }
        for (ids, bytes) in in_progress {
            index.unreserve(bytes);
            index.release(&ids);
        }
        prop_assert_eq!((index.leased_bytes, index.reserved_bytes, index.leases.len()), (0, 0, 0));
    }
}

#[test]
fn lookup_stops_at_first_missing_chunk() {
    let mut index = Index::new(CHUNK_TOKENS, None);
    let tokens: Vec<u32> = (0..16).collect();
    let ids = insert_context(&mut index, &tokens, 1);
    assert!(index.remove_leaf(&ids[3]).is_some());
    assert!(index.remove_leaf(&ids[2]).is_some());
    assert_eq!(index.match_prefix(&key(), &tokens), ids[..2]);
}

#[test]
fn a_chunk_whose_parent_is_missing_is_refused() {
    let mut index = Index::new(CHUNK_TOKENS, None);
    let tokens: Vec<u32> = (0..8).collect();
    let second = chain(&key(), &tokens, CHUNK_TOKENS as usize).nth(1).unwrap();
    assert_eq!(index.insert(facts(&second, 1)).unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(index.num_chunks(), 0);
}

#[test]
fn only_leaves_are_taken_out() {
    let mut index = Index::new(CHUNK_TOKENS, None);
    let ids = insert_context(&mut index, &[1, 2, 3, 4, 5], 1);
    assert_eq!(index.remove_leaf(&ids[0]), None);
    assert_eq!(index.num_chunks(), 2);
}

#[test]
fn eviction_passes_over_leased_chains() {
    let mut index = Index::new(CHUNK_TOKENS, Some(3 * CHUNK_BYTES));
    let old = insert_context(&mut index, &[1; 8], 1);
    let young = insert_context(&mut index, &[2; 4], 2);
    index.lease(&old);
    let evicted = index.reserve(CHUNK_BYTES).unwrap();
    assert_eq!(evicted.iter().map(|chunk| chunk.id).collect::<Vec<_>>(), young);
    assert_eq!(index.reserve(1).unwrap_err().kind(), ErrorKind::Busy);
}

#[test]
fn subtree_and_unshared_chain_follow_the_tree() {
    let mut index = Index::new(CHUNK_TOKENS, None);
    let long = insert_context(&mut index, &[1, 1, 1, 1, 2, 2, 2, 2, 3], 1);
    let short = insert_context(&mut index, &[1, 1, 1, 1, 5], 1);
    assert_eq!(long[0], short[0]);
    assert_eq!(index.unshared_chain(&long[2]), [long[2], long[1]]);
    let subtree: BTreeSet<_> = index.subtree(&long[0]).into_iter().collect();
    assert_eq!(subtree, BTreeSet::from([long[0], long[1], long[2], short[1]]));
    assert!(index.unshared_chain(&long[1]).is_empty(), "not a leaf");
}
