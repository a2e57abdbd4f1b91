//! The quota, and who goes when it is reached.

use tempfile::tempdir;

use super::*;

fn bytes_of(seed: u32) -> u64 {
    exact_context(tokens(seed, 64)).stored_bytes()
}

#[test]
fn the_least_recently_used_context_goes_first() {
    let dir = tempdir().unwrap();
    let contexts: Vec<_> = (1..=4).map(|seed| exact_context(tokens(seed, 64))).collect();
    let quota = contexts.iter().take(3).map(Context::stored_bytes).sum::<u64>() + 200;
    let test = open(dir.path(), quota);
    for (now, context) in (1..).zip(&contexts[..3]) {
        put(test.at(now), context).unwrap();
    }
    assert_eq!(matched(test.at(10), &contexts[0]), 64, "a match is a use");
    put(test.at(11), &contexts[3]).unwrap();
    let left: Vec<_> = contexts.iter().map(|context| matched(&test.depot, context)).collect();
    assert_eq!(left, [64, 0, 64, 64]);
    assert!(test.depot.usage().stored_bytes <= quota);
    assert_eq!(test.depot.usage().evicted_chunks, 2);
    assert_eq!(test.depot.store.num_segment_rows(), 3 * contexts[0].segments.len());
}

#[test]
fn a_look_at_a_context_is_no_use() {
    let dir = tempdir().unwrap();
    let test = open(dir.path(), 0);
    let id = *put(&test.depot, &exact_context(tokens(1, 64))).unwrap().chunk_ids.last().unwrap();
    let look = |now| test.at(now).inspect(IdPrefix { first: id, last: id }).unwrap().context.last_used;
    assert_eq!((look(5), look(6)), (1, 1));
    test.at(7).fetch(FetchTarget::Chunk(id, None), 0).unwrap();
    assert_eq!(look(8), 7);
}

#[test]
fn the_order_of_use_survives_a_flush() {
    let dir = tempdir().unwrap();
    let contexts: Vec<_> = (1..=3).map(|seed| exact_context(tokens(seed, 64))).collect();
    let test = open(dir.path(), 0);
    for (now, context) in (1..).zip(&contexts) {
        put(test.at(now), context).unwrap();
    }
    assert_eq!(matched(test.at(10), &contexts[0]), 64);
    test.depot.flush().unwrap();
    test.close();
    let test = open(dir.path(), bytes_of(1) + bytes_of(3) + 200);
    let left: Vec<_> = contexts.iter().map(|context| matched(&test.depot, context)).collect();
    assert_eq!(left, [64, 0, 64], "a lowered quota evicts at the start");
}

#[test]
fn a_context_above_the_quota_is_refused_and_nothing_changes() {
    let dir = tempdir().unwrap();
    let test = open(dir.path(), bytes_of(1) + 200);
    let (small, large) = (exact_context(tokens(1, 64)), exact_context(tokens(2, 128)));
    put(&test.depot, &small).unwrap();
    let error = test.depot.announce(large.announce.clone()).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Busy);
    let expected = format!(
        "context needs {} bytes, quota is {}, of which 0 are in use by transfers in progress",
        large.stored_bytes(),
        bytes_of(1) + 200
    );
    assert_eq!(error.to_string(), expected);
    assert_eq!(matched(&test.depot, &small), 64);
    assert_eq!(test.depot.usage().evicted_chunks, 0);
}

#[test]
fn a_put_never_evicts_what_it_continues_or_what_is_in_transfer() {
    let dir = tempdir().unwrap();
    let base = exact_context(tokens(1, 64));
    let longer = exact_context([tokens(1, 64), tokens(2, 64)].concat());
    let test = open(dir.path(), longer.stored_bytes() - 1);
    put(&test.depot, &base).unwrap();
    assert_eq!(test.depot.announce(longer.announce.clone()).err().unwrap().kind(), ErrorKind::Busy);
    assert_eq!(matched(&test.depot, &base), 64);
    let other = exact_context(tokens(3, 112));
    let outgoing = test.depot.fetch(FetchTarget::Prefix(scope(), tokens(1, 64)), 0).unwrap();
    assert_eq!(test.depot.announce(other.announce.clone()).err().unwrap().kind(), ErrorKind::Busy);
    drop(outgoing);
    put(&test.depot, &other).unwrap();
    assert_eq!(matched(&test.depot, &base), 0);
}

#[test]
fn staged_bytes_count_until_the_put_ends() {
    let dir = tempdir().unwrap();
    let test = open(dir.path(), bytes_of(1) + 200);
    let (one, two) = (exact_context(tokens(1, 64)), exact_context(tokens(2, 64)));
    let staged = stage(&test.depot, &one).unwrap();
    assert_eq!(test.depot.announce(two.announce.clone()).err().unwrap().kind(), ErrorKind::Busy);
    drop(staged);
    put(&test.depot, &two).unwrap();
}

#[test]
fn puts_in_progress_are_bounded() {
    let dir = tempdir().unwrap();
    let test = open(dir.path(), 0);
    let context = exact_context(tokens(1, 32));
    let announce = || test.depot.announce(context.announce.clone());
    let staged: Vec<_> = (0..MAX_PUTS).map(|_| announce().unwrap()).collect();
    assert_eq!(announce().err().unwrap().kind(), ErrorKind::Busy);
    drop(staged);
    assert!(announce().is_ok());
}
