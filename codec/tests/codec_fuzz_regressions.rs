//! Promise: what fuzzing has found stays found. The corpora of `codec/fuzz` and the inputs that once failed are replayed
//! through the functions of its targets.
#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

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
fn segments_decode_alike_or_are_refused() {
    replay("decode_segment", fuzz::decode_segment);
}

#[test]
fn quality_layers_decode_alike_or_are_refused() {
    replay("decode_layers", fuzz::decode_layers);
}

#[test]
fn containers_are_read_or_refused() {
    replay("container", fuzz::container);
}

#[test]
fn dumps_are_read_or_refused() {
    replay("dump", fuzz::dump);
}

#[test]
fn any_chunk_keeps_the_promises_of_every_level() {
    replay("round_trip", fuzz::round_trip);
}
