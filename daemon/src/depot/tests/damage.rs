//! Bytes that are not what was put: refused when they arrive, never given out when they are read.

use bytes::BytesMut;
use tempfile::tempdir;

use super::*;

#[test]
fn a_damaged_segment_is_never_given_out() {
    let dir = tempdir().unwrap();
    let test = open(dir.path(), 0);
    let context = exact_context(tokens(1, 96));
    put(&test.depot, &context).unwrap();
    let damaged = ids(&test.depot, &context)[1];
    test.depot.store.damage_segment(&damaged, 0, context.segments[0].key);
    assert_eq!(fetch(&test.depot, &context).unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(matched(&test.depot, &context), 32, "it and what continues it are gone");
    assert_eq!(test.depot.usage().quarantined_chunks, 2);
    assert_eq!(put(&test.depot, &context).unwrap().new_chunks, 2, "another put brings it back");
    assert_eq!(fetch(&test.depot, &context).unwrap().1, context.segments);
}

#[test]
fn damaged_metadata_makes_a_shorter_match() {
    let dir = tempdir().unwrap();
    let test = open(dir.path(), 0);
    let context = exact_context(tokens(1, 96));
    put(&test.depot, &context).unwrap();
    let damaged = ids(&test.depot, &context)[2];
    test.depot.store.damage_row(&damaged);
    assert_eq!(matched(&test.depot, &context), 64);
    assert_eq!(test.depot.usage().quarantined_chunks, 1);
    assert_eq!(fetch(&test.depot, &context).unwrap().1, context.segments[..8]);
}

#[test]
fn metadata_damaged_while_closed_is_quarantined_at_the_start() {
    let dir = tempdir().unwrap();
    let test = open(dir.path(), 0);
    let (context, other) = (exact_context(tokens(1, 96)), exact_context(tokens(2, 32)));
    put(&test.depot, &context).unwrap();
    put(&test.depot, &other).unwrap();
    let damaged = ids(&test.depot, &context)[1];
    test.depot.store.damage_row(&damaged);
    test.close();
    let test = open(dir.path(), 0);
    assert_eq!((matched(&test.depot, &context), matched(&test.depot, &other)), (32, 32));
    assert_eq!(test.depot.usage().quarantined_chunks, 2);
    assert_eq!(test.depot.store.num_segment_rows(), 8, "what was quarantined takes no room");
}

#[test]
fn a_segment_damaged_on_its_way_is_refused() {
    let dir = tempdir().unwrap();
    let test = open(dir.path(), 0);
    let context = exact_context(tokens(1, 32));
    let mut staged = test.depot.announce(context.announce.clone()).unwrap();
    let mut damaged = context.segments[0].clone();
    let mut bytes = BytesMut::from(damaged.bytes.as_ref());
    *bytes.last_mut().unwrap() ^= 0x10;
    damaged.bytes = bytes.freeze();
    assert_eq!(staged.stage(&damaged).unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(staged.commit().unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(test.depot.store.num_segment_rows(), 0);
}

#[test]
fn segments_that_are_not_what_was_announced_are_refused() {
    let dir = tempdir().unwrap();
    let test = open(dir.path(), 0);
    let context = exact_context(tokens(1, 64));
    let refused = |change: fn(&mut Context)| {
        let mut changed = context.clone();
        change(&mut changed);
        put(&test.depot, &changed).unwrap_err().kind()
    };
    assert_eq!(refused(|c| c.announce.scope = Scope::exact(spec(Dtype::F16))), ErrorKind::Invalid, "dtype");
    assert_eq!(refused(|c| c.segments.swap_remove(0).key.layer_group += 7), ErrorKind::Invalid, "a segment missing");
    assert_eq!(refused(|c| c.segments[1].chunk_idx = 5), ErrorKind::Invalid, "a chunk that is not there");
    assert_eq!(refused(|c| c.segments[1] = c.segments[0].clone()), ErrorKind::Invalid, "a segment twice");
    assert_eq!(refused(|c| c.announce.tokens.truncate(40)), ErrorKind::Invalid, "tokens of the last chunk");
    assert_eq!(refused(|c| c.announce.tokens.truncate(32)), ErrorKind::Invalid, "chunks");
    assert_eq!(refused(|c| c.announce.tokens.clear()), ErrorKind::Invalid, "no tokens");
    assert_eq!(test.depot.store.num_segment_rows(), 0);
    assert_eq!(test.depot.usage().chunks, 0);
}

#[test]
fn a_chunk_that_lacks_a_layer_is_refused() {
    let dir = tempdir().unwrap();
    let test = open(dir.path(), 0);
    let mut context = exact_context(tokens(1, 32));
    let dropped = context.segments.pop().unwrap();
    context.announce.contents[0].segments.retain(|segment| segment.key != dropped.key);
    let error = put(&test.depot, &context).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(error.to_string(), "chunk 0: side V of quality 0: layer 1 is due where the segments end");
}
