//! Promise: at q1 every value is within the bound that its segment states.
#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod common;

use common::{decode_all, geometries, geometry, load, model_like, options};
use kvdepot_codec::{Dtype, KvChunk, Level, Side, encode, error_bound, verify};
use proptest::prelude::*;

/// The largest error of each side.
fn largest_errors(chunk: &KvChunk, decoded: &KvChunk, layer: usize) -> [f64; 2] {
    Side::BOTH.map(|side| {
        let [exact, decoded] = [chunk, decoded].map(|chunk| load(chunk.geometry().dtype(), chunk.plane(layer, side)));
        let errors = exact.iter().zip(&decoded).map(|(exact, decoded)| (f64::from(*decoded) - f64::from(*exact)).abs());
        errors.fold(0.0, f64::max)
    })
}

fn check(chunk: &KvChunk) -> Result<(), TestCaseError> {
    let segments = encode(chunk, &options(Level::Q1, 1)).unwrap();
    let decoded = decode_all(chunk, &segments).unwrap();
    for segment in &segments {
        let header = verify(&segment.bytes).unwrap();
        let bound = error_bound(&segment.bytes).unwrap().unwrap();
        let largest = largest_errors(chunk, &decoded, header.first_layer())[segment.key.side as usize];
        prop_assert!(largest <= bound, "{largest} where {bound} is stated");
        prop_assert!(header.distortion().max_error <= bound);
    }
    Ok(())
}

proptest! {
    #[test]
    fn every_value_is_within_the_stated_bound(geometry in geometries(), num_tokens in 1usize..80, seed in any::<u64>()) {
        check(&model_like(geometry, num_tokens, seed))?;
    }

    #[test]
    fn outliers_are_within_the_stated_bound_too(
        seed in any::<u64>(),
        dtype in prop::sample::select(common::DTYPES.to_vec()),
        outliers in prop::collection::vec((any::<prop::sample::Index>(), -300.0f32..300.0), 1..20),
    ) {
        let like = model_like(geometry(2, 2, 16, dtype), 70, seed);
        let mut bytes = like.bytes().to_vec();
        for (place, value) in outliers {
            let at = place.index(bytes.len() / dtype.bytes()) * dtype.bytes();
            bytes[at..at + dtype.bytes()].copy_from_slice(&common::store(dtype, value));
        }
        check(&KvChunk::from_bytes(*like.geometry(), 70, bytes).unwrap())?;
    }
}

#[test]
fn numbers_beyond_the_range_or_precision_of_f32_are_within_the_stated_bound_too() {
    let cases = [
        (Dtype::F32, 0.0, 1e30),
        (Dtype::F32, 0.0, f32::MAX),
        (Dtype::F32, 0.0, 1e-30),
        (Dtype::F32, 1e-40, 1e-42),
        (Dtype::F32, 1e6, 0.5),
        (Dtype::Bf16, 3e38, 1e37),
        (Dtype::F16, 60_000.0, 5_000.0),
    ];
    for (dtype, mean, spread) in cases {
        let like = model_like(geometry(2, 2, 16, Dtype::F32), 70, 3);
        let values = load(Dtype::F32, like.bytes()).into_iter().map(|x| mean + spread * (x / 8.0).clamp(-1.0, 1.0));
        let bytes = values.flat_map(|x| common::store(dtype, x)).collect();
        check(&KvChunk::from_bytes(geometry(2, 2, 16, dtype), 70, bytes).unwrap()).unwrap();
    }
}

#[test]
fn kv_of_models_shrinks_by_more_than_two_and_a_half() {
    let chunk = model_like(geometry(2, 8, 128, Dtype::Bf16), 256, 1);
    let segments = encode(&chunk, &options(Level::Q1, 1)).unwrap();
    let encoded_bytes: usize = segments.iter().map(|segment| segment.bytes.len()).sum();
    assert!(encoded_bytes * 5 < chunk.bytes().len() * 2, "{encoded_bytes}");
}

#[test]
fn lossless_levels_state_zero_and_measured_ones_nothing() {
    let chunk = model_like(geometry(1, 2, 16, Dtype::F16), 40, 5);
    let bound = |level| error_bound(&encode(&chunk, &options(level, 1)).unwrap()[0].bytes).unwrap();
    assert_eq!([Level::Q0, Level::Q2, Level::Q3].map(bound), [Some(0.0), None, None]);
}
