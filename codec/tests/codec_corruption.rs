//! Promise: a truncated, extended or changed segment is an error, never data, a panic or a large allocation.
#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod common;

use common::{decode_all, geometry, load, model_like, options, seal};
use kvdepot_codec::container::Container;
use kvdepot_codec::{
    Codec, Dtype, EncodeOptions, ErrorKind, Geometry, Isa, KvChunk, Level, Rope, RopeScaling, Segment, SegmentHeader,
    Side, decode_segment, encode, error_bound, verify,
};
use proptest::prelude::*;

const HEADER_BYTES: usize = 96;

fn samples() -> Vec<(KvChunk, Segment)> {
    let chunk = |dtype| model_like(geometry(2, 2, 8, dtype), 37, 11);
    let encoded = |dtype, level| {
        let chunk = chunk(dtype);
        let segment = encode(&chunk, &options(level, 2)).unwrap().swap_remove(0);
        (chunk, segment)
    };
    vec![
        encoded(Dtype::Bf16, Level::Q0),
        encoded(Dtype::F32, Level::Q0),
        encoded(Dtype::F16, Level::Q2),
        encoded(Dtype::F32, Level::Q1),
        encoded(Dtype::Bf16, Level::Q3),
    ]
}

fn decode_into(chunk: &KvChunk, bytes: &[u8]) -> kvdepot_codec::Result<SegmentHeader> {
    decode_segment(bytes, &mut KvChunk::zeroed(*chunk.geometry(), chunk.num_tokens()).unwrap())
}

#[test]
fn every_truncation_is_corrupt() {
    for (chunk, segment) in samples() {
        for length in 0..segment.bytes.len() {
            let bytes = &segment.bytes[..length];
            assert_eq!(verify(bytes).unwrap_err().kind(), ErrorKind::Corrupt, "{length}");
            assert_eq!(decode_into(&chunk, bytes).unwrap_err().kind(), ErrorKind::Corrupt, "{length}");
            assert!(SegmentHeader::parse(bytes).is_err());
        }
    }
}

#[test]
fn surplus_bytes_are_corrupt() {
    for (_, mut segment) in samples() {
        segment.bytes.push(0);
        assert_eq!(verify(&segment.bytes).unwrap_err().kind(), ErrorKind::Corrupt);
    }
}

#[test]
fn every_bit_flip_is_an_error() {
    for (chunk, segment) in samples() {
        let mut bytes = segment.bytes;
        for bit in 0..8 * bytes.len() {
            bytes[bit / 8] ^= 1 << (bit % 8);
            let error = verify(&bytes).unwrap_err();
            // The version alone is read before the checksum: another one may have another checksum.
            let in_version = (4..6).contains(&(bit / 8));
            assert_eq!(error.kind() == ErrorKind::Incompatible, in_version, "bit {bit}: {error}");
            assert!(decode_into(&chunk, &bytes).is_err());
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        assert!(decode_into(&chunk, &bytes).is_ok());
    }
}

#[test]
fn every_truncation_with_a_fitting_checksum_and_length_is_an_error() {
    for (chunk, segment) in samples() {
        for length in HEADER_BYTES..segment.bytes.len() {
            let mut bytes = segment.bytes[..length].to_vec();
            bytes[80..88].copy_from_slice(&(length as u64).to_le_bytes());
            seal(&mut bytes);
            assert!(verify(&bytes).is_ok());
            assert!(decode_into(&chunk, &bytes).is_err(), "{length}");
        }
    }
}

proptest! {
    /// Behind a checksum that fits, changes may give other data, but no panic.
    #[test]
    fn forged_bytes_never_panic(
        sample in 0usize..5,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let (chunk, segment) = samples().swap_remove(sample);
        let mut bytes = segment.bytes;
        for (place, value) in changes {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        seal(&mut bytes);
        let _ = decode_into(&chunk, &bytes);
    }

    #[test]
    fn arbitrary_bytes_are_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(verify(&bytes).is_err());
    }
}

/// A segment with one header field changed and the checksum made to fit.
fn with_field(offset: usize, value: &[u8]) -> Vec<u8> {
    let (_, segment) = samples().swap_remove(0);
    let mut bytes = segment.bytes;
    bytes[offset..offset + value.len()].copy_from_slice(value);
    seal(&mut bytes);
    bytes
}

#[test]
fn unknown_codes_are_incompatible_and_named() {
    let cases: [(usize, u8, &str); 7] = [
        (4, 1, "version 1"),
        (6, 9, "level 9"),
        (7, 1, "quality layer 1"),
        (9, 7, "dtype 7"),
        (10, 5, "model set 5"),
        (11, 9, "RoPE kind 9"),
        (32, 3, "profile 3"),
    ];
    for (offset, code, message) in cases {
        let bytes = with_field(offset, &[code]);
        for error in [verify(&bytes).unwrap_err(), SegmentHeader::parse(&bytes).unwrap_err()] {
            assert_eq!(error.kind(), ErrorKind::Incompatible);
            assert!(error.to_string().contains(message), "{error}");
        }
    }
}

#[test]
fn impossible_fields_are_corrupt() {
    let nan = f64::NAN.to_le_bytes();
    let cases: [(usize, &[u8]); 8] = [
        (12, &[0, 0]),
        (16, &[255, 255]),
        (18, &[0, 0]),
        (18, &[1, 16]),
        (22, &[2, 0]),
        (24, &[0, 0]),
        (26, &[1, 0]),
        (56, &nan),
    ];
    for (offset, value) in cases {
        assert_eq!(verify(&with_field(offset, value)).unwrap_err().kind(), ErrorKind::Corrupt, "field at {offset}");
    }
}

#[test]
fn a_stated_size_that_is_not_earned_allocates_nothing() {
    // 1024 layers, heads and dimensions, 4096 tokens: the planes would take terabytes.
    let mut bytes = with_field(12, &[0, 4, 0, 4, 0, 4, 0, 16]);
    bytes[22..26].copy_from_slice(&[0, 0, 0, 4]);
    seal(&mut bytes);
    assert!(verify(&bytes).is_ok());
    let chunk = samples().swap_remove(0).0;
    assert_eq!(decode_into(&chunk, &bytes).unwrap_err().kind(), ErrorKind::Incompatible);
}

#[test]
fn a_container_of_a_shape_that_is_not_earned_allocates_nothing() {
    let (_, segment) = samples().swap_remove(0);
    let fixed = [
        b"KVDF".as_slice(),
        &[1, 0, 1, 0, 0, 4, 0, 4, 0, 4, 0, 0],
        &4096u64.to_le_bytes(),
        &4096u32.to_le_bytes(),
        &[0; 24],
        &1u32.to_le_bytes(),
    ]
    .concat();
    let entry = [&[0; 8], (segment.bytes.len() as u64).to_le_bytes().as_slice()].concat();
    let checksum = xxhash_rust::xxh3::xxh3_64(&[fixed.as_slice(), &entry].concat());
    let bytes = [fixed.as_slice(), &checksum.to_le_bytes(), &entry, &segment.bytes].concat();
    let container = Container::parse(&bytes).unwrap();
    assert_eq!(container.chunk(0).unwrap_err().kind(), ErrorKind::Invalid);
}

#[test]
fn positions_up_to_the_last_one_decode() {
    let chunk = model_like(geometry(1, 1, 8, Dtype::Bf16), 70, 11);
    for level in [Level::Q1, Level::Q3] {
        let options = EncodeOptions { first_position: u64::MAX, ..options(level, 1) };
        decode_all(&chunk, &encode(&chunk, &options).unwrap()).unwrap();
    }
}

const LLAMA3: [f64; 4] = [8.0, 1.0, 4.0, 8192.0];

/// Options with RoPE of this theta, scaled by factor, low and high frequency factor and original context.
fn with_rope(
    level: Level,
    theta: f64,
    [factor, low_freq_factor, high_freq_factor, original_context]: [f64; 4],
) -> EncodeOptions {
    let scaling = RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context };
    EncodeOptions { rope: Some(Rope { theta, scaling }), ..options(level, 2) }
}

#[test]
fn rope_without_finite_frequencies_is_refused_by_encoders_and_corrupt_in_forged_segments() {
    let chunk = model_like(geometry(2, 2, 8, Dtype::Bf16), 37, 11);
    for level in [Level::Q1, Level::Q3] {
        let sound = encode(&chunk, &with_rope(level, 10_000.0, LLAMA3)).unwrap().swap_remove(0);
        assert!(decode_into(&chunk, &sound.bytes).is_ok());
        let forged = |offset: usize, number: f64| {
            let mut bytes = sound.bytes.clone();
            bytes[offset..offset + 8].copy_from_slice(&number.to_le_bytes());
            seal(&mut bytes);
            bytes
        };
        for theta in [1e-300, 0.5, 0.0, -1e4, f64::INFINITY, f64::NAN] {
            let error = encode(&chunk, &with_rope(level, theta, LLAMA3)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
            let bytes = forged(40, theta);
            for error in [verify(&bytes).unwrap_err(), decode_into(&chunk, &bytes).unwrap_err()] {
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
                assert!(error.to_string().contains("theta and factor of at least 1"), "{error}");
            }
        }
        // The preamble begins behind the index of four tiles.
        for (field, number) in [(0, 1e-300), (0, 0.5), (0, f64::NAN), (1, 0.0), (2, 1.0), (3, f64::INFINITY)] {
            let mut scaling = LLAMA3;
            scaling[field] = number;
            let error = encode(&chunk, &with_rope(level, 10_000.0, scaling)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
            let bytes = forged(HEADER_BYTES + 4 * 4 + 8 * field, number);
            assert!(verify(&bytes).is_ok());
            assert_eq!(
                decode_into(&chunk, &bytes).unwrap_err().kind(),
                ErrorKind::Corrupt,
                "{number} in field {field}"
            );
            assert_eq!(error_bound(&bytes).unwrap_err().kind(), ErrorKind::Corrupt, "{number} in field {field}");
        }
    }
}

/// What `FORMAT.md` allows: no encoder chooses such steps.
#[test]
fn forged_steps_may_give_elements_that_are_not_finite_and_those_of_q2_are_finite_always() {
    let chunk = model_like(geometry(1, 2, 8, Dtype::F32), 37, 11);
    let preamble = HEADER_BYTES + 4 * 2;
    let values_with = |level, at: usize, field: [u8; 4]| {
        let values = encode(&chunk, &options(level, 1)).unwrap().swap_remove(1);
        let mut bytes = values.bytes;
        bytes[at..at + 4].copy_from_slice(&field);
        seal(&mut bytes);
        let on = |isa| {
            let mut into = KvChunk::zeroed(*chunk.geometry(), 37).unwrap();
            Codec::on(isa).decode_segment(&bytes, &mut into).unwrap();
            load(Dtype::F32, into.plane(0, Side::V))
        };
        let elements = on(Isa::SCALAR);
        for isa in Isa::available() {
            let same = |(a, b): (&f32, &f32)| a == b || a.is_nan() && b.is_nan();
            assert!(on(isa).iter().zip(&elements).all(same), "{isa}");
        }
        elements
    };
    for level in [Level::Q1, Level::Q3] {
        let elements = values_with(level, preamble, f32::MAX.to_le_bytes());
        assert!(elements.iter().any(|element| !element.is_finite()), "{level}");
    }
    let elements = values_with(Level::Q2, preamble + 4, f32::MAX.to_le_bytes());
    assert!(elements.iter().all(|element| element.is_finite()));
    assert!(elements.contains(&f32::MAX) || elements.contains(&-f32::MAX));
}

#[test]
fn another_shape_is_incompatible() {
    let (chunk, segment) = samples().swap_remove(0);
    let other = |geometry: Geometry, num_tokens| {
        decode_segment(&segment.bytes, &mut KvChunk::zeroed(geometry, num_tokens).unwrap()).unwrap_err().kind()
    };
    assert_eq!(other(*chunk.geometry(), 36), ErrorKind::Incompatible);
    assert_eq!(other(geometry(2, 2, 9, Dtype::Bf16), 37), ErrorKind::Incompatible);
    assert_eq!(other(geometry(2, 2, 8, Dtype::F16), 37), ErrorKind::Incompatible);
}

#[test]
fn planes_covered_twice_or_never_are_named() {
    let chunk = model_like(geometry(3, 1, 8, Dtype::Bf16), 20, 1);
    let mut segments = encode(&chunk, &EncodeOptions::new(Level::Q0)).unwrap();
    let missing = segments.pop().unwrap();
    let error = decode_all(&chunk, &segments).unwrap_err();
    assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Invalid, "no segment holds V of layer 2"));
    segments.extend([missing.clone(), missing]);
    let error = decode_all(&chunk, &segments).unwrap_err();
    assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Invalid, "two segments hold V of layer 2"));
}

#[test]
fn options_without_such_a_segment_are_invalid() {
    let chunk = model_like(geometry(3, 1, 8, Dtype::Bf16), 20, 1);
    let options = options(Level::Q0, 2);
    let mut key = options.segment_keys(chunk.geometry()).last().unwrap();
    assert_eq!(key.layer_group, 1);
    key.layer_group = 2;
    assert_eq!(kvdepot_codec::encode_segment(&chunk, &options, key).unwrap_err().kind(), ErrorKind::Invalid);
}
