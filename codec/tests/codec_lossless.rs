//! Promise: Q0 gives back every bit, whatever the bits are, and is smaller than the input on KV of models.
#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod common;

use common::{DTYPES, decode_all, geometries, geometry, model_like, options, round_trip};
use kvdepot_codec::{Distortion, Dtype, KvChunk, Level, bounds, encode, verify};
use proptest::prelude::*;

/// Elements that adversaries and hardware come up with: any bits, and the special ones often.
fn any_chunk() -> impl Strategy<Value = KvChunk> {
    let byte = prop_oneof![3 => any::<u8>(), 1 => Just(0), 1 => Just(0x80), 1 => Just(0x7f), 1 => Just(0xff)];
    (geometries(), 1usize..80, prop::collection::vec(byte, 1..64)).prop_map(|(geometry, num_tokens, pattern)| {
        let bytes = pattern.into_iter().cycle().take(geometry.kv_bytes(num_tokens)).collect();
        KvChunk::from_bytes(geometry, num_tokens, bytes).unwrap()
    })
}

proptest! {
    #[test]
    fn any_bits_come_back(chunk in any_chunk(), layers_per_group in 1u16..5) {
        prop_assert_eq!(round_trip(&chunk, &options(Level::Q0, layers_per_group)).unwrap(), chunk);
    }

    #[test]
    fn kv_of_models_comes_back(geometry in geometries(), num_tokens in 1usize..200, seed in any::<u64>()) {
        let chunk = model_like(geometry, num_tokens, seed);
        prop_assert_eq!(round_trip(&chunk, &options(Level::Q0, 1)).unwrap(), chunk);
    }

    #[test]
    fn segments_stay_within_their_bound(chunk in any_chunk(), layers_per_group in 1u16..5) {
        let options = options(Level::Q0, layers_per_group);
        let bound = bounds::segment_bytes(chunk.geometry(), chunk.num_tokens(), &options);
        for segment in encode(&chunk, &options).unwrap() {
            prop_assert!(segment.bytes.len() <= bound, "{} exceeds {bound}", segment.bytes.len());
        }
    }
}

#[test]
fn every_16_bit_pattern_comes_back() {
    for dtype in [Dtype::Bf16, Dtype::F16] {
        let geometry = geometry(1, 2, 64, dtype);
        let mut bytes: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
        bytes.extend_from_within(..);
        let num_tokens = bytes.len() / geometry.kv_bytes(1);
        let chunk = KvChunk::from_bytes(geometry, num_tokens, bytes).unwrap();
        assert_eq!(round_trip(&chunk, &options(Level::Q0, 1)).unwrap(), chunk);
    }
}

#[test]
fn special_values_among_ordinary_ones_come_back() {
    for dtype in DTYPES {
        let geometry = geometry(1, 1, 8, dtype);
        let mut bytes = model_like(geometry, 64, 3).bytes().to_vec();
        let special = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0, 0.0, 1e-40, -1e-40, f32::MAX, f32::MIN];
        for (place, value) in special.into_iter().enumerate() {
            let at = place * 17 * dtype.bytes();
            bytes[at..at + dtype.bytes()].copy_from_slice(&common::store(dtype, value));
        }
        let chunk = KvChunk::from_bytes(geometry, 64, bytes).unwrap();
        assert_eq!(round_trip(&chunk, &options(Level::Q0, 1)).unwrap(), chunk);
    }
}

#[test]
fn kv_of_models_shrinks() {
    for (dtype, least_ratio) in [(Dtype::Bf16, 1.45), (Dtype::F16, 1.15), (Dtype::F32, 1.18)] {
        let chunk = model_like(geometry(2, 8, 128, dtype), 256, 1);
        let segments = encode(&chunk, &options(Level::Q0, 1)).unwrap();
        let encoded_bytes: usize = segments.iter().map(|segment| segment.bytes.len()).sum();
        let ratio = chunk.bytes().len() as f64 / encoded_bytes as f64;
        assert!(ratio >= least_ratio, "{dtype}: {ratio}");
    }
}

#[test]
fn zeros_cost_next_to_nothing() {
    for level in Level::ALL {
        let chunk = KvChunk::zeroed(geometry(2, 8, 128, Dtype::Bf16), 256).unwrap();
        let segments = encode(&chunk, &options(level, 1)).unwrap();
        let encoded_bytes: usize = segments.iter().map(|segment| segment.bytes.len()).sum();
        assert!(encoded_bytes * 80 < chunk.bytes().len(), "{level}: {encoded_bytes} bytes");
    }
}

#[test]
fn the_largest_chunk_and_the_smallest_come_back() {
    for num_tokens in [1, KvChunk::MAX_TOKENS] {
        let chunk = model_like(geometry(1, 1, 3, Dtype::Bf16), num_tokens, 9);
        assert_eq!(round_trip(&chunk, &options(Level::Q0, 1)).unwrap(), chunk);
    }
}

#[test]
fn lossless_segments_say_that_nothing_was_lost() {
    let chunk = model_like(geometry(2, 2, 16, Dtype::F16), 40, 5);
    for segment in encode(&chunk, &options(Level::Q0, 1)).unwrap() {
        assert_eq!(verify(&segment.bytes).unwrap().distortion(), Distortion::default());
    }
}

#[test]
fn segments_decode_in_any_order() {
    let chunk = model_like(geometry(5, 2, 16, Dtype::Bf16), 40, 5);
    let mut segments = encode(&chunk, &options(Level::Q0, 2)).unwrap();
    assert_eq!(segments.len(), 6);
    segments.reverse();
    assert_eq!(decode_all(&chunk, &segments).unwrap(), chunk);
}
