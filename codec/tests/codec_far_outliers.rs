//! Promise: where a value is beyond what an escape can say, the plane is kept as it is.
#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod common;

use common::{geometry, model_like, options, store};
use kvdepot_codec::{Codec, Dtype, Isa, KvChunk, Level, Segment, Side, verify};

const TOKENS: usize = 20;
/// The layer, token and channel of the outlier. The token is none of those by which Q3 finds the spread of all keys.
const LAYER: usize = 1;
const TOKEN: usize = 13;
const CHANNEL: usize = 11;

fn with_outlier(mut chunk: KvChunk, side: Side, outlier: f32) -> KvChunk {
    let dtype = chunk.geometry().dtype();
    let at = (TOKEN * chunk.geometry().channels() + CHANNEL) * dtype.bytes();
    chunk.plane_mut(LAYER, side)[at..at + dtype.bytes()].copy_from_slice(&store(dtype, outlier));
    chunk
}

/// Exact tokens of a segment of one plane without scaled RoPE: a field of the preamble, behind an index of two tiles.
fn exact_tokens(segment: &Segment) -> usize {
    const AT: usize = 96 + 4 * 2 + 8;
    u32::from_le_bytes(segment.bytes[AT..AT + 4].try_into().unwrap()) as usize
}

/// Holds every instruction set to this: the outlier's plane comes back bit by bit, with any number of quality layers, and
/// the others are coded. Gives the plane with the outlier.
fn check(chunk: &KvChunk, level: Level, side: Side) {
    let segments = Codec::on(Isa::SCALAR).encode(chunk, &options(level, 1)).unwrap();
    for segment in segments.iter().filter(|segment| segment.key.quality == 0) {
        let is_outliers = (segment.key.layer_group, segment.key.side) == (LAYER as u16, side);
        assert_eq!(exact_tokens(segment) == TOKENS, is_outliers, "{level}, {:?}", segment.key);
        assert!(!is_outliers || verify(&segment.bytes).unwrap().distortion().max_error == 0.0);
    }
    for isa in Isa::available() {
        assert!(Codec::on(isa).encode(chunk, &options(level, 1)).unwrap() == segments, "{level} on {isa}");
        for quality in 0..level.qualities(side) {
            let present = segments.iter().filter(|segment| segment.key.quality <= quality);
            let decoded = Codec::on(isa)
                .decode(*chunk.geometry(), TOKENS, present.map(|segment| segment.bytes.as_slice()))
                .unwrap();
            assert!(decoded.plane(LAYER, side) == chunk.plane(LAYER, side), "{level}, layer {quality} on {isa}");
        }
    }
}

/// Squares of elements as small as these are 0 in f32, so that the step follows from the outlier's mean alone: it has
/// 4,096 steps for each token but one. Its error could be said to be small all the same.
#[test]
fn values_of_more_than_sixteen_bits_are_kept_at_q1() {
    for (dtype, side) in [Dtype::Bf16, Dtype::F32].into_iter().flat_map(|dtype| Side::BOTH.map(|side| (dtype, side))) {
        let chunk = KvChunk::zeroed(geometry(2, 2, 8, dtype), TOKENS).unwrap();
        check(&with_outlier(chunk, side, 1e-24), Level::Q1, side);
    }
}

#[test]
fn values_of_more_than_sixteen_bits_are_kept_at_q3() {
    for (dtype, outlier) in [(Dtype::Bf16, 1e7), (Dtype::Bf16, -3e38), (Dtype::F32, 1e7), (Dtype::F32, f32::MAX)] {
        let like = model_like(geometry(2, 2, 8, dtype), TOKENS, 1);
        check(&with_outlier(like, Side::K, outlier), Level::Q3, Side::K);
    }
}
