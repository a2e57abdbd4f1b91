//! What the depot promises, one test per promise.

mod damage;
mod limits;
mod qualities;

use std::fs;
use std::path::Path;

use kvdepot_codec::{Dtype, Level};
use tempfile::tempdir;

use super::*;
use crate::testing::*;

/// Copies the files of an open store: what a machine would find after its process was killed.
fn crash_image(store: &Path) -> tempfile::TempDir {
    let image = tempdir().unwrap();
    for file in fs::read_dir(store).unwrap() {
        let file = file.unwrap();
        if file.file_name() != "LOCK" {
            fs::copy(file.path(), image.path().join(file.file_name())).unwrap();
        }
    }
    image
}

#[test]
fn a_committed_context_comes_back_bit_for_bit() {
    let dir = tempdir().unwrap();
    let test = open(dir.path(), 0);
    let context = exact_context(tokens(1, 80));
    let committed = put(&test.depot, &context).unwrap();
    assert_eq!((committed.new_chunks, committed.new_bytes), (3, context.stored_bytes()));
    let (manifest, segments) = fetch(&test.depot, &context).unwrap();
    assert_eq!(segments, context.segments);
    assert_eq!(manifest.tokens, context.announce.tokens);
    assert_eq!(manifest.chunks.iter().map(|chunk| chunk.id).collect::<Vec<_>>(), committed.chunk_ids);
}

#[test]
fn a_context_survives_a_reopening_and_a_kill() {
    let dir = tempdir().unwrap();
    let test = open(dir.path(), 0);
    let context = exact_context(tokens(1, 80));
    put(&test.depot, &context).unwrap();
    let image = crash_image(dir.path());
    test.close();
    for store in [dir.path(), image.path()] {
        let test = open(store, 0);
        assert_eq!(fetch(&test.depot, &context).unwrap().1, context.segments);
        test.close();
    }
}

#[test]
fn a_kill_before_the_commit_leaves_nothing() {
    let dir = tempdir().unwrap();
    let test = open(dir.path(), 0);
    let (first, second) = (exact_context(tokens(1, 80)), exact_context(tokens(2, 80)));
    put(&test.depot, &first).unwrap();
    let staged = stage(&test.depot, &second).unwrap();
    let image = crash_image(dir.path());
    drop(staged);
    let killed = open(image.path(), 0);
    assert_eq!(matched(&killed.depot, &second), 0);
    assert_eq!(killed.depot.store.num_segment_rows(), first.segments.len());
    assert_eq!(killed.depot.store.num_staging_rows(), 0);
    assert_eq!(fetch(&killed.depot, &first).unwrap().1, first.segments);
}

#[test]
fn a_dropped_put_leaves_nothing() {
    let dir = tempdir().unwrap();
    let test = open(dir.path(), 0);
    let context = exact_context(tokens(1, 80));
    let staged = stage(&test.depot, &context).unwrap();
    assert_eq!(matched(&test.depot, &context), 0, "nothing is visible before the commit");
    assert_eq!(test.depot.store.num_segment_rows(), context.segments.len());
    drop(staged);
    assert_eq!(test.depot.store.num_segment_rows(), 0);
    assert_eq!(test.depot.store.num_staging_rows(), 0);
    assert_eq!(matched(&test.depot, &context), 0);
}

#[test]
fn a_shared_prefix_is_stored_once() {
    let dir = tempdir().unwrap();
    let test = open(dir.path(), 0);
    let mut longer = tokens(1, 64);
    put(&test.depot, &exact_context(longer.clone())).unwrap();
    longer.extend(tokens(2, 32));
    let longer = exact_context(longer);
    assert_eq!(put(&test.depot, &longer).unwrap().new_chunks, 1);
    assert_eq!(put(&test.depot, &longer).unwrap().new_chunks, 0);
    assert_eq!(test.depot.usage().stored_bytes, longer.stored_bytes());
    assert_eq!(test.depot.usage().contexts, 1);
}

#[test]
fn of_two_puts_of_the_same_context_the_first_commit_wins() {
    let dir = tempdir().unwrap();
    let test = open(dir.path(), 0);
    let context = exact_context(tokens(1, 80));
    let (one, two) = (stage(&test.depot, &context).unwrap(), stage(&test.depot, &context).unwrap());
    assert_eq!(two.commit().unwrap().new_chunks, 3);
    assert_eq!(one.commit().unwrap().new_chunks, 0);
    assert_eq!(test.depot.store.num_segment_rows(), context.segments.len(), "duplicates are gone");
    assert_eq!(test.depot.usage().stored_bytes, context.stored_bytes());
    assert_eq!(fetch(&test.depot, &context).unwrap().1, context.segments);
}

#[test]
fn a_short_last_chunk_matches_when_its_tokens_come_next() {
    let dir = tempdir().unwrap();
    let test = open(dir.path(), 0);
    let stored = exact_context(tokens(1, 40));
    put(&test.depot, &stored).unwrap();
    let mut longer = stored.clone();
    longer.announce.tokens.extend(tokens(9, 50));
    assert_eq!(matched(&test.depot, &longer), 40);
    let mut other = stored.clone();
    other.announce.tokens[39] += 1;
    assert_eq!(matched(&test.depot, &other), 32);
}

#[test]
fn another_scope_sees_nothing() {
    let dir = tempdir().unwrap();
    let test = open(dir.path(), 0);
    let context = exact_context(tokens(1, 64));
    put(&test.depot, &context).unwrap();
    let base = scope();
    let others = [
        Scope { lossy: true, ..base.clone() },
        Scope { namespace: "other".to_owned(), ..base.clone() },
        Scope { salt: b"secret".to_vec(), ..base.clone() },
        Scope::exact(spec(Dtype::F32)),
    ];
    for scope in others {
        let prefix = test.depot.match_prefix(&scope, &context.announce.tokens).unwrap();
        assert_eq!(prefix.num_tokens(), 0, "{scope:?}");
    }
}

#[test]
fn a_miss_names_the_first_missing_chunk_and_the_field_that_differs() {
    let dir = tempdir().unwrap();
    let test = open(dir.path(), 0);
    let context = exact_context(tokens(1, 64));
    put(&test.depot, &context).unwrap();
    let mut longer = context.announce.tokens.clone();
    longer.extend(tokens(2, 40));
    let partial = test.depot.match_prefix(&scope(), &longer).unwrap();
    assert_eq!(partial.miss_reason, "no chunk for tokens 64..96");
    let other = test.depot.match_prefix(&Scope::exact(spec(Dtype::F32)), &longer).unwrap();
    assert_eq!(
        other.miss_reason,
        "no chunk for tokens 0..32; model \"tiny\" is stored with another spec: dtype is \"bf16\" here and \"f32\" there"
    );
    assert_eq!(test.depot.match_prefix(&scope(), &context.announce.tokens).unwrap().miss_reason, "");
}

#[test]
fn a_chunk_is_fetched_by_id_only_as_what_it_is() {
    let dir = tempdir().unwrap();
    let test = open(dir.path(), 0);
    let lossy = Scope { lossy: true, ..scope() };
    let context = context(lossy.clone(), tokens(1, 64), Level::Q2);
    let id = *put(&test.depot, &context).unwrap().chunk_ids.last().unwrap();
    let fetch = |expected| test.depot.fetch(FetchTarget::Chunk(id, expected), 1).map(|out| out.manifest().clone());
    for expected in [None, Some(lossy)] {
        let manifest = fetch(expected).unwrap();
        assert_eq!((manifest.chunks.len(), manifest.chunks[0].start_token), (1, 32), "one chunk is skipped");
    }
    for expected in [Scope::exact(spec(Dtype::F32)), scope()] {
        assert_eq!(fetch(Some(expected)).unwrap_err().kind(), ErrorKind::Incompatible);
    }
    let absent = FetchTarget::Chunk(ChunkId::new([1; 32]), None);
    assert_eq!(test.depot.fetch(absent, 0).err().unwrap().kind(), ErrorKind::NotFound);
}

#[test]
fn deletion_takes_what_no_other_context_shares() {
    let dir = tempdir().unwrap();
    let test = open(dir.path(), 0);
    let shared = tokens(1, 32);
    let one = exact_context([shared.clone(), tokens(2, 64)].concat());
    let two = exact_context([shared, tokens(3, 32)].concat());
    put(&test.depot, &one).unwrap();
    put(&test.depot, &two).unwrap();
    let chain = ids(&test.depot, &one);
    let refused = test.depot.delete(&[chain[1]], Extent::Context).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid, "{refused}");
    assert_eq!(test.depot.delete(&[chain[2]], Extent::Context).unwrap().chunks, 2);
    assert_eq!(test.depot.delete(&[chain[2]], Extent::Context).unwrap().chunks, 0, "idempotent");
    assert_eq!((matched(&test.depot, &one), matched(&test.depot, &two)), (32, 64));
    assert_eq!(test.depot.delete(&[chain[0]], Extent::Subtree).unwrap().chunks, 2);
    assert_eq!((test.depot.usage().chunks, test.depot.usage().stored_bytes), (0, 0));
    assert_eq!(test.depot.store.num_segment_rows(), 0);
}

#[test]
fn a_context_in_transfer_is_not_deleted() {
    let dir = tempdir().unwrap();
    let test = open(dir.path(), 0);
    let context = exact_context(tokens(1, 64));
    let id = *put(&test.depot, &context).unwrap().chunk_ids.last().unwrap();
    let outgoing = test.depot.fetch(FetchTarget::Chunk(id, None), 0).unwrap();
    assert_eq!(test.depot.delete(&[id], Extent::Context).unwrap_err().kind(), ErrorKind::Busy);
    let keys: Vec<_> = outgoing.contents()[1].segments.iter().map(|segment| segment.key).collect();
    assert_eq!(outgoing.read_segments(1, &keys).unwrap().len(), 4);
    drop(outgoing);
    assert_eq!(test.depot.delete(&[id], Extent::Context).unwrap().chunks, 2);
}

#[test]
fn contexts_are_listed_in_pages_and_inspected_by_prefix() {
    let dir = tempdir().unwrap();
    let test = open(dir.path(), 0);
    let contexts: Vec<_> = (1..=5).map(|seed| exact_context(tokens(seed, 40))).collect();
    for (now, context) in (1..).zip(&contexts) {
        put(test.at(now), context).unwrap();
    }
    let first = test.depot.list(None, 3).unwrap();
    let rest = test.depot.list(first.next, 3).unwrap();
    assert_eq!((first.contexts.len(), rest.contexts.len(), rest.next), (3, 2, None));
    assert!(first.contexts.iter().chain(&rest.contexts).is_sorted_by_key(|context| context.last_used));
    let summary = &first.contexts[0];
    assert_eq!((summary.num_tokens, summary.num_chunks), (40, 2));
    assert_eq!(summary.stored_bytes, contexts[0].stored_bytes());
    let id = summary.chunk_id;
    let found = test.depot.inspect(IdPrefix { first: id, last: id }).unwrap();
    assert_eq!((found.manifest.tokens, found.is_leaf), (tokens(1, 40), true));
    let all = IdPrefix { first: ChunkId::new([0; 32]), last: ChunkId::new([0xff; 32]) };
    assert_eq!(test.depot.inspect(all).err().unwrap().kind(), ErrorKind::Invalid);
}

#[test]
fn a_directory_made_with_other_chunks_is_refused() {
    let dir = tempdir().unwrap();
    open(dir.path(), 0).close();
    let mut settings = store_settings(0);
    settings.chunk_tokens = 64;
    let error = Depot::open(dir.path(), &settings, Box::new(|| 0)).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Incompatible);
    assert!(error.to_string().ends_with("was made with chunk_tokens 32, this daemon has 64"), "{error}");
}

#[test]
fn a_directory_in_use_is_refused() {
    let dir = tempdir().unwrap();
    let _test = open(dir.path(), 0);
    let error = Depot::open(dir.path(), &store_settings(0), Box::new(|| 0)).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().ends_with("is in use by another kvdepotd"), "{error}");
}
