//! The quota, and who goes when it is reached.

use std::time::Duration;

use kvdepot_proto::limits;
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

#[test]
fn a_leased_context_stays_until_its_time_is_over() {
    let dir = tempdir().unwrap();
    let contexts: Vec<_> = (1..=5).map(|seed| exact_context(tokens(seed, 64))).collect();
    let test = open(dir.path(), 3 * bytes_of(1) + 200);
    put(test.at(1), &contexts[0]).unwrap();
    let leased = test.at(2).match_prefix(&scope(), &tokens(1, 64)).unwrap();
    assert_eq!(test.depot.keep_leased(leased, Duration::from_millis(100)), Duration::from_millis(100));
    for (now, context) in (3..).zip(&contexts[1..4]) {
        put(test.at(now), context).unwrap();
    }
    let left: Vec<_> = contexts.iter().map(|context| matched(test.at(50), context)).collect();
    assert_eq!(left, [64, 0, 64, 64, 0], "the second was used later, and went");
    for context in &contexts[2..4] {
        matched(test.at(90), context);
    }
    put(test.at(102), &contexts[4]).unwrap();
    assert_eq!(matched(&test.depot, &contexts[0]), 0, "it went when its time was over");
}

#[test]
fn leases_keep_no_more_than_half_of_the_quota() {
    let dir = tempdir().unwrap();
    let test = open(dir.path(), 3 * bytes_of(1) + 200);
    for seed in 1..=2 {
        put(test.at(1), &exact_context(tokens(seed, 64))).unwrap();
    }
    let lease = |seed: u32, lasts: Duration| {
        let prefix = test.at(2).match_prefix(&scope(), &tokens(seed, 64)).unwrap();
        test.depot.keep_leased(prefix, lasts)
    };
    assert_eq!(lease(1, Duration::from_secs(9_000)), limits::MAX_LEASE);
    assert_eq!(lease(1, Duration::from_secs(5)), Duration::from_secs(5), "the same bytes again");
    assert_eq!(lease(2, Duration::from_secs(5)), Duration::ZERO);
    assert_eq!(lease(7, Duration::from_secs(5)), Duration::ZERO, "nothing is stored");
}

#[test]
fn deleting_ends_leases_of_what_is_deleted() {
    let dir = tempdir().unwrap();
    let test = open(dir.path(), 0);
    let id = *put(test.at(1), &exact_context(tokens(1, 64))).unwrap().chunk_ids.last().unwrap();
    let prefix = test.at(2).match_prefix(&scope(), &tokens(1, 48)).unwrap();
    test.depot.keep_leased(prefix, Duration::from_secs(5));
    assert_eq!(test.depot.delete(&[id], Extent::Context).unwrap().bytes, bytes_of(1));
    assert_eq!(test.depot.index.lock().leased_bytes(), 0);
}
