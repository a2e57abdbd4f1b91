//! Promise: what fuzzing has found stays found. The corpora of `proto/fuzz` and the inputs that once failed are replayed through
//! the functions of its targets.
#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]
#![allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "the targets' own numbers"
)]

#[path = "../fuzz/src/lib.rs"]
#[expect(unreachable_pub, reason = "the fuzz targets are outside of the crate")]
mod fuzz;

use std::path::Path;

/// Runs a target on its corpus; what is printed before a failure is the input.
fn replay(target: &str, run: impl Fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut inputs: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    inputs.sort();
    assert!(!inputs.is_empty(), "no corpus of {target}");
    for input in inputs {
        println!("{}", input.display());
        run(&std::fs::read(input).unwrap());
    }
}

#[test]
fn frames_are_the_same_however_they_are_cut_or_are_refused() {
    replay("frames", fuzz::frames);
}

#[test]
fn segments_are_the_same_however_they_are_cut_or_are_refused() {
    replay("segments", fuzz::segments);
}

#[test]
fn any_request_is_served_with_what_it_wants_and_does_not_hold() {
    replay("sender", fuzz::sender);
}

#[test]
fn any_answer_is_taken_as_announced_or_is_refused() {
    replay("receiver", fuzz::receiver);
}
