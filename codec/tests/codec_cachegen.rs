//! Promise: Q2 decodes to the tensors that LMCache's CacheGen decodes to, bit for bit, and measures its error rightly.
#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod common;

use common::{DTYPES, geometries, geometry, load, model_like, options, round_trip, store};
use kvdepot_codec::{Distortion, Dtype, ErrorKind, Geometry, KvChunk, Level, Side, bounds, decode, encode, verify};
use proptest::prelude::*;

/// Bins of a plane in LMCache's configuration.
fn bins(num_layers: usize, layer: usize, side: Side) -> u32 {
    match (num_layers, side) {
        (..10, _) => 32,
        (_, Side::K) if layer < 10 => 32,
        (_, Side::V) if layer < 2 => 32,
        _ => 16,
    }
}

/// LMCache's quantizer and dequantizer of one token, written down plainly.
fn cachegen(values: &[f32], bins: u32) -> Vec<f32> {
    let c = (bins / 2 - 1) as f32;
    let scale = values.iter().fold(0f32, |largest, value| largest.max(value.abs()));
    let factor = c / scale;
    let symbols = values.iter().map(|value| {
        let scaled = (value * factor + c).round_ties_even();
        if scaled.is_finite() { scaled } else { 0.0 }
    });
    symbols.map(|symbol| ((symbol - c) / c) * scale).collect()
}

fn expected(chunk: &KvChunk) -> KvChunk {
    let (geometry, num_tokens) = (*chunk.geometry(), chunk.num_tokens());
    let mut expected = KvChunk::zeroed(geometry, num_tokens).unwrap();
    for layer in 0..geometry.num_layers() {
        for side in Side::BOTH {
            let bins = bins(geometry.num_layers(), layer, side);
            let tokens = chunk.plane(layer, side).chunks_exact(geometry.plane_bytes(1));
            let decoded = tokens.flat_map(|token| cachegen(&load(geometry.dtype(), token), bins));
            let bytes: Vec<u8> = decoded.flat_map(|value| store(geometry.dtype(), value)).collect();
            expected.plane_mut(layer, side).copy_from_slice(&bytes);
        }
    }
    expected
}

/// Finite elements of any magnitude, by token.
fn finite_chunk() -> impl Strategy<Value = KvChunk> {
    let magnitudes = prop::collection::vec((any::<i16>(), -140i32..15), 1..50);
    (geometries(), 1usize..70, magnitudes).prop_map(|(geometry, num_tokens, magnitudes)| {
        let values =
            magnitudes.into_iter().map(|(mantissa, exponent)| f32::from(mantissa) / 32768.0 * (exponent as f32).exp2());
        let elements: Vec<Vec<u8>> = values.map(|value| store(geometry.dtype(), value)).collect();
        let bytes = elements.concat().into_iter().cycle().take(geometry.kv_bytes(num_tokens)).collect();
        KvChunk::from_bytes(geometry, num_tokens, bytes).unwrap()
    })
}

proptest! {
    #[test]
    fn decoded_tensors_are_those_of_the_plain_quantizer(chunk in finite_chunk(), layers_per_group in 1u16..4) {
        prop_assert_eq!(round_trip(&chunk, &options(Level::Q2, layers_per_group)).unwrap(), expected(&chunk));
    }

    #[test]
    fn kv_of_models_decodes_to_the_same_too(geometry in geometries(), num_tokens in 1usize..200, seed in any::<u64>()) {
        let chunk = model_like(geometry, num_tokens, seed);
        prop_assert_eq!(round_trip(&chunk, &options(Level::Q2, 1)).unwrap(), expected(&chunk));
    }

    #[test]
    fn segments_stay_within_their_bound(chunk in finite_chunk(), layers_per_group in 1u16..4) {
        let options = options(Level::Q2, layers_per_group);
        let bound = bounds::segment_bytes(chunk.geometry(), chunk.num_tokens(), &options);
        for segment in encode(&chunk, &options).unwrap() {
            prop_assert!(segment.bytes.len() <= bound, "{} exceeds {bound}", segment.bytes.len());
        }
    }
}

/// Input and output of LMCache's formulas in torch 2, `[12, 2, 7, 2, 4]` each, in the canonical layout.
#[test]
fn decoded_tensors_are_those_of_torch() {
    let files: [(Dtype, &[u8]); 3] = [
        (Dtype::Bf16, include_bytes!("golden/lmcache_bf16.bin")),
        (Dtype::F16, include_bytes!("golden/lmcache_f16.bin")),
        (Dtype::F32, include_bytes!("golden/lmcache_f32.bin")),
    ];
    for (dtype, file) in files {
        let (input, output) = file.split_at(file.len() / 2);
        let chunk = |bytes: &[u8]| KvChunk::from_bytes(geometry(12, 2, 4, dtype), 7, bytes.to_vec()).unwrap();
        assert_eq!(round_trip(&chunk(input), &options(Level::Q2, 1)).unwrap(), chunk(output), "{dtype}");
    }
}

#[test]
fn layers_beyond_the_first_ten_have_fewer_bins() {
    let chunk = model_like(geometry(14, 2, 8, Dtype::Bf16), 33, 2);
    assert_eq!(round_trip(&chunk, &options(Level::Q2, 4)).unwrap(), expected(&chunk));
}

#[test]
fn decoding_and_encoding_again_changes_nothing() {
    for dtype in DTYPES {
        let once = round_trip(&model_like(geometry(2, 2, 16, dtype), 50, 8), &options(Level::Q2, 1)).unwrap();
        assert_eq!(round_trip(&once, &options(Level::Q2, 1)).unwrap(), once);
    }
}

/// The largest head error norm over a plane's tokens and heads, the largest error, and the mean squared one.
fn measure(original: &[f32], decoded: &[f32], head_dim: usize) -> Distortion {
    let errors: Vec<f64> = original.iter().zip(decoded).map(|(a, b)| f64::from(*b) - f64::from(*a)).collect();
    let norms = errors.chunks(head_dim).map(|head| head.iter().map(|error| error * error).sum::<f64>().sqrt());
    Distortion {
        mse: errors.iter().map(|error| error * error).sum::<f64>() / errors.len() as f64,
        max_error: errors.iter().fold(0.0, |largest, error| largest.max(error.abs())),
        max_head_error_norm: norms.fold(0.0, f64::max),
    }
}

#[test]
fn stated_distortion_is_that_of_the_decoded_planes() {
    let chunk = model_like(geometry(3, 4, 24, Dtype::Bf16), 77, 4);
    let decoded = round_trip(&chunk, &options(Level::Q2, 1)).unwrap();
    for segment in encode(&chunk, &options(Level::Q2, 1)).unwrap() {
        let header = verify(&segment.bytes).unwrap();
        let plane = |chunk: &KvChunk| load(Dtype::Bf16, chunk.plane(header.first_layer(), segment.key.side));
        let measured = measure(&plane(&chunk), &plane(&decoded), 24);
        assert_eq!(header.distortion().max_error, measured.max_error);
        // Sums within a head are of f32.
        assert!((header.distortion().max_head_error_norm / measured.max_head_error_norm - 1.0).abs() < 1e-6);
        assert!((header.distortion().mse / measured.mse - 1.0).abs() < 1e-6);
    }
}

#[test]
fn an_element_that_is_not_finite_is_refused_with_its_place() {
    for (value, dtype) in [(f32::NAN, Dtype::Bf16), (f32::INFINITY, Dtype::F16), (f32::NEG_INFINITY, Dtype::F32)] {
        let geometry = geometry(2, 2, 4, dtype);
        let mut bytes = model_like(geometry, 6, 1).bytes().to_vec();
        // V of layer 1, token 5, kv head 1, element 2.
        let place = (((3 * 6 + 5) * 2 + 1) * 4 + 2) * dtype.bytes();
        bytes[place..place + dtype.bytes()].copy_from_slice(&store(dtype, value));
        let chunk = KvChunk::from_bytes(geometry, 6, bytes).unwrap();
        let error = encode(&chunk, &options(Level::Q2, 1)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        for part in ["element 2", "kv head 1", "V of layer 1", "token 5"] {
            assert!(error.to_string().contains(part), "{error}");
        }
    }
}

#[test]
fn metadata_is_a_small_part_at_the_geometry_of_an_8b_model() {
    let geometry = Geometry::new(1, 8, 128, Dtype::Bf16).unwrap();
    let segments = encode(&model_like(geometry, 256, 6), &options(Level::Q2, 1)).unwrap();
    // Header, index of 8 tiles, and per tile: its header, 128 channel bytes and the 64 bytes by which 32 lanes exceed
    // the code length.
    let overhead = 96 + 8 * (4 + 8 + 128 + 64);
    for segment in &segments {
        assert!(overhead * 100 <= 3 * segment.bytes.len(), "{overhead} of {}", segment.bytes.len());
    }
    assert!(decode(geometry, 256, segments.iter().map(|segment| segment.bytes.as_slice())).is_ok());
}
