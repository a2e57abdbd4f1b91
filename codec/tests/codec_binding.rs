//! A refinement goes with the very base that it was made for, however alike others are.
#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod common;

use common::{geometry, model_like, options};
use kvdepot_codec::{Dtype, ErrorKind, KvChunk, Level, Segment, Side, decode_layers, encode};

const NUM_TOKENS: usize = 70;

/// The quality layers of one side of a chunk, lowest first.
fn layers(seed: u64, side: Side) -> Vec<Segment> {
    let chunk = model_like(geometry(1, 2, 32, Dtype::Bf16), NUM_TOKENS, seed);
    let mut segments = encode(&chunk, &options(Level::Q3, 1)).unwrap();
    segments.retain(|segment| segment.key.side == side);
    assert_eq!(segments.len(), usize::from(Level::Q3.qualities(side)));
    segments
}

fn decoded(segments: &[&Segment]) -> Result<KvChunk, kvdepot_codec::Error> {
    let mut into = KvChunk::zeroed(geometry(1, 2, 32, Dtype::Bf16), NUM_TOKENS).unwrap();
    let bytes: Vec<&[u8]> = segments.iter().map(|segment| segment.bytes.as_slice()).collect();
    decode_layers(&bytes, &mut into).map(|_| into)
}

#[test]
fn a_refinement_of_another_chunk_is_refused() {
    for side in Side::BOTH {
        let [ours, theirs] = [1, 2].map(|seed| layers(seed, side));
        for quality in 1..ours.len() {
            let mut mixed: Vec<&Segment> = ours.iter().take(quality + 1).collect();
            assert!(decoded(&mixed).is_ok());
            mixed[quality] = &theirs[quality];
            let error = decoded(&mixed).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(error.to_string().contains("does not refine what is there"), "{error}");
        }
    }
}

#[test]
fn a_refinement_that_does_not_say_what_it_refines_is_taken() {
    let ours = layers(1, Side::K);
    let mut unsaid = ours.clone();
    unsaid.iter_mut().for_each(|segment| common::loosen(&mut segment.bytes));
    let [ours, unsaid] = [&ours, &unsaid].map(|layers| decoded(&layers.iter().collect::<Vec<_>>()).unwrap());
    assert!(ours == unsaid);
}
