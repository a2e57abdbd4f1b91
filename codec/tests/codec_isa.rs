//! Promise: every instruction set gives the bytes, elements and kinds of error of the scalar path.
#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod common;

use common::{geometries, geometry, model_like, options};
use kvdepot_codec::{Codec, Dtype, Isa, KvChunk, Level, Segment, SegmentHeader, encode};
use proptest::prelude::*;

/// The instruction sets to hold against the scalar one.
fn others() -> Vec<Isa> {
    let others: Vec<Isa> = Isa::available().into_iter().filter(|&isa| isa != Isa::SCALAR).collect();
    if others.is_empty() {
        eprintln!("skipped: this processor has nothing but {}", Isa::SCALAR);
    }
    others
}

/// Shapes with whole blocks of channels and with parts, and with any number of tiles for lockstep.
fn chunks() -> impl Strategy<Value = KvChunk> {
    let wide = (1u32..12, 1u32..10, prop::sample::select(vec![8, 31, 32, 40, 64, 72]))
        .prop_map(|(layers, heads, head_dim)| geometry(layers, heads, head_dim, Dtype::Bf16));
    (prop_oneof![geometries(), wide], 1usize..150, any::<u64>())
        .prop_map(|(geometry, num_tokens, seed)| model_like(geometry, num_tokens, seed))
}

/// Bits of any kind, the finite ones of which Q2 takes.
fn with_outliers() -> impl Strategy<Value = KvChunk> {
    (chunks(), prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..40)).prop_map(
        |(chunk, changes)| {
            let mut bytes = chunk.bytes().to_vec();
            for (place, value) in changes {
                let place = place.index(bytes.len());
                bytes[place] = value;
            }
            KvChunk::from_bytes(*chunk.geometry(), chunk.num_tokens(), bytes).unwrap()
        },
    )
}

fn decode_on(isa: Isa, like: &KvChunk, layers: &[Segment]) -> (kvdepot_codec::Result<SegmentHeader>, KvChunk) {
    let mut chunk = KvChunk::zeroed(*like.geometry(), like.num_tokens()).unwrap();
    let layers: Vec<&[u8]> = layers.iter().map(|segment| segment.bytes.as_slice()).collect();
    (Codec::on(isa).decode_layers(&layers, &mut chunk), chunk)
}

/// All levels' segments, the quality layers of a layer group and side together.
fn groups(chunk: &KvChunk) -> Vec<Vec<Segment>> {
    let encoded = Level::ALL.into_iter().filter_map(|level| encode(chunk, &options(level, 3)).ok());
    encoded
        .flat_map(|mut segments| {
            segments.sort_by_key(|segment| (segment.key.layer_group, segment.key.side, segment.key.quality));
            let of_one = |a: &Segment, b: &Segment| (a.key.layer_group, a.key.side) == (b.key.layer_group, b.key.side);
            segments.chunk_by(of_one).map(<[Segment]>::to_vec).collect::<Vec<_>>()
        })
        .collect()
}

proptest! {
    #[test]
    fn encoded_bytes_are_equal(chunk in with_outliers(), layers_per_group in 1u16..4) {
        for level in Level::ALL {
            let options = options(level, layers_per_group);
            let expected = Codec::on(Isa::SCALAR).encode(&chunk, &options);
            for isa in others() {
                prop_assert!(Codec::on(isa).encode(&chunk, &options) == expected, "{isa}");
            }
        }
    }

    #[test]
    fn decoded_elements_are_equal(chunk in with_outliers()) {
        for group in groups(&chunk) {
            for count in 1..=group.len() {
                let expected = decode_on(Isa::SCALAR, &chunk, &group[..count]);
                prop_assert!(expected.0.is_ok(), "{:?}", expected.0);
                for isa in others() {
                    prop_assert!(decode_on(isa, &chunk, &group[..count]) == expected, "{isa}");
                }
            }
        }
    }

    #[test]
    fn forged_bytes_are_the_same_elements_or_the_same_kind_of_error(
        chunk in chunks(),
        layer in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        for mut group in groups(&chunk) {
            let bytes = &mut layer.get_mut(&mut group).bytes;
            for (place, value) in &changes {
                let place = 96 + place.index(bytes.len() - 96);
                bytes[place] = *value;
            }
            group.iter_mut().for_each(|segment| common::loosen(&mut segment.bytes));
            let (expected, elements) = decode_on(Isa::SCALAR, &chunk, &group);
            for isa in others() {
                let (decoded, decoded_elements) = decode_on(isa, &chunk, &group);
                match (&expected, decoded) {
                    (Ok(_), Ok(_)) => prop_assert!(decoded_elements == elements, "{isa}"),
                    (Err(expected), Err(error)) => prop_assert_eq!(error.kind(), expected.kind()),
                    (expected, decoded) => prop_assert!(false, "{isa}: {decoded:?}, not {expected:?}"),
                }
            }
        }
    }
}
