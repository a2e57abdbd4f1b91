//! Promise: baselines give back the KV that their method gives back, from their bytes alone.
#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod common;

use common::{geometry, load_f32, model_like, round_trip, store};
use kvdepot_baselines::{
    Baseline, Int8, Kvtc, KvtcCalibration, KvtcOptions, LmCache, ZstdSymbols, relative_error, uncalibrated,
};
use kvdepot_codec::{Dtype, EncodeOptions, ErrorKind, KvChunk, Level, Rope, Side, decode, encode};
use proptest::prelude::*;

/// What our level Q2 decodes to: LMCache's tensors.
fn q2(chunk: &KvChunk) -> KvChunk {
    let segments = encode(chunk, &EncodeOptions::new(Level::Q2)).unwrap();
    decode(*chunk.geometry(), chunk.num_tokens(), segments.iter().map(|segment| segment.bytes.as_slice())).unwrap()
}

#[test]
fn lmcache_decodes_to_the_tensors_of_q2_bit_for_bit() {
    for dtype in [Dtype::Bf16, Dtype::F16, Dtype::F32] {
        for (num_layers, num_tokens) in [(1, 1), (3, 70), (12, 300)] {
            let chunk = model_like(geometry(num_layers, 2, 16, dtype), num_tokens, 3);
            assert_eq!(round_trip(&LmCache, &chunk, 0).unwrap(), q2(&chunk), "{dtype}, {num_tokens} tokens");
        }
    }
}

#[test]
fn zstd_gives_back_the_same_symbols() {
    let chunk = model_like(geometry(12, 1, 9, Dtype::Bf16), 77, 5);
    for compression in [1, 9] {
        assert_eq!(round_trip(&ZstdSymbols { compression }, &chunk, 0).unwrap(), q2(&chunk));
    }
}

#[test]
fn lmcache_counts_the_tables_of_every_channel_its_lengths_and_scales() {
    let shape = geometry(2, 1, 8, Dtype::Bf16);
    let bytes = LmCache.encode(&KvChunk::zeroed(shape, 300).unwrap(), 0).unwrap();
    let (planes, channels) = (4, 8);
    let fixed = planes * channels * 33 * 2 + planes * 300 * 2 + 2 * planes * channels * 4;
    let streams = bytes.len() - fixed;
    // A channel of one symbol takes next to nothing, in each of two runs of tokens.
    assert!((2 * planes * channels..=2 * planes * channels * 3).contains(&streams), "{streams}");
}

proptest! {
    #[test]
    fn int8_is_within_half_a_step(
        magnitudes in prop::collection::vec((any::<i16>(), -140i32..15), 1..50),
        num_tokens in 1usize..20,
    ) {
        let shape = geometry(2, 2, 5, Dtype::F32);
        let values = magnitudes.iter().map(|(mantissa, exponent)| f32::from(*mantissa) / 32768.0 * (*exponent as f32).exp2());
        let elements: Vec<u8> = values.flat_map(f32::to_le_bytes).collect();
        let bytes = elements.into_iter().cycle().take(shape.kv_bytes(num_tokens)).collect();
        let chunk = KvChunk::from_bytes(shape, num_tokens, bytes).unwrap();
        let decoded = round_trip(&Int8, &chunk, 0).unwrap();
        let (original, decoded) = (load_f32(chunk.bytes()), load_f32(decoded.bytes()));
        for (original, decoded) in original.chunks(5).zip(decoded.chunks(5)) {
            let step = original.iter().fold(0f32, |largest, value| largest.max(value.abs())) / 127.0;
            for (value, decoded) in original.iter().zip(decoded) {
                // Half a step, and the rounding of the products; scales below the normal numbers have few bits.
                let limit = 0.5001 * step + 127.0 * f32::from_bits(1);
                prop_assert!((value - decoded).abs() <= limit, "{value} became {decoded}, step {step}");
            }
        }
    }
}

/// A coder calibrated on other tokens of the same courses, and a context of 400 tokens.
fn kvtc(target_ratio: f64, dtype: Dtype) -> (Kvtc, KvChunk) {
    let shape = geometry(3, 2, 32, dtype);
    let calibration = [(0, model_like(shape, 200, 1)), (200, model_like(shape, 150, 2))];
    let calibration = KvtcCalibration::fit(&calibration, &KvtcOptions::new(&Rope::plain(10_000.0), 32)).unwrap();
    (calibration.coder(target_ratio), model_like(shape, 400, 9))
}

#[test]
fn the_error_of_kvtc_falls_with_its_bits() {
    let measured = [4.0, 8.0, 16.0, 64.0].map(|target_ratio| {
        let (coder, context) = kvtc(target_ratio, Dtype::F32);
        let decoded = round_trip(&coder, &context, 40).unwrap();
        let size = coder.encode(&context, 40).unwrap().len();
        (size, Side::BOTH.map(|side| relative_error([(&context, &decoded)], side)))
    });
    for pair in measured.windows(2) {
        assert!(pair[0].0 >= pair[1].0, "{measured:?}");
        assert!(pair[0].1.iter().zip(pair[1].1).all(|(finer, coarser)| *finer <= coarser + 1e-4), "{measured:?}");
    }
    assert!(measured[0].1.iter().all(|error| *error < 0.1), "{measured:?}");
}

#[test]
fn kvtc_leaves_the_first_and_the_last_tokens_as_they_are() {
    let (coder, context) = kvtc(64.0, Dtype::Bf16);
    let decoded = round_trip(&coder, &context, 7).unwrap();
    let token_bytes = context.geometry().plane_bytes(1);
    for layer in 0..3 {
        for side in Side::BOTH {
            let [original, decoded] = [&context, &decoded].map(|chunk| chunk.plane(layer, side));
            assert_eq!(original[..4 * token_bytes], decoded[..4 * token_bytes]);
            assert_eq!(original[272 * token_bytes..], decoded[272 * token_bytes..]);
            assert_ne!(original[4 * token_bytes..272 * token_bytes], decoded[4 * token_bytes..272 * token_bytes]);
        }
    }
}

#[test]
fn short_contexts_are_exact_under_kvtc() {
    let (coder, _) = kvtc(16.0, Dtype::Bf16);
    for num_tokens in [1, 4, 100, 132] {
        let context = model_like(geometry(3, 2, 32, Dtype::Bf16), num_tokens, 4);
        assert_eq!(round_trip(&coder, &context, 0).unwrap(), context);
    }
}

#[test]
fn kvtc_refuses_another_geometry() {
    let (coder, _) = kvtc(16.0, Dtype::Bf16);
    let other = KvChunk::zeroed(geometry(3, 2, 16, Dtype::Bf16), 200).unwrap();
    assert_eq!(coder.encode(&other, 0).unwrap_err().kind(), ErrorKind::Invalid);
}

#[test]
fn kvtc_with_fewer_tokens_than_features_works_too() {
    let shape = geometry(4, 4, 32, Dtype::F32);
    let options = KvtcOptions::new(&Rope::plain(10_000.0), 32);
    let coder = KvtcCalibration::fit(&[(0, model_like(shape, 100, 1))], &options).unwrap().coder(8.0);
    assert!(coder.num_components().iter().all(|components| (1..=75).contains(components)));
    let context = model_like(shape, 200, 2);
    let decoded = round_trip(&coder, &context, 0).unwrap();
    assert!(relative_error([(&context, &decoded)], Side::V) < 0.2);
}

#[test]
fn elements_that_are_not_finite_are_refused() {
    let shape = geometry(3, 2, 32, Dtype::F32);
    let mut bytes = model_like(shape, 200, 1).bytes().to_vec();
    bytes[50_000..50_004].copy_from_slice(&store(Dtype::F32, f32::NAN));
    let chunk = KvChunk::from_bytes(shape, 200, bytes).unwrap();
    let (coder, _) = kvtc(8.0, Dtype::F32);
    let mut baselines = uncalibrated();
    baselines.push(Box::new(coder));
    for baseline in baselines {
        assert_eq!(baseline.encode(&chunk, 0).unwrap_err().kind(), ErrorKind::Invalid, "{}", baseline.name());
    }
}
