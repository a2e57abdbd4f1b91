//! Promise: of each byte of a segment it is known whether it stands for elements.
#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod common;

use common::{geometry, model_like, options};
use kvdepot_codec::{Dtype, EncodeOptions, KvChunk, Level, Segment, Side, encode, metadata_bytes};

/// Metadata and all bytes of a chunk's segments.
fn counted(chunk: &KvChunk, options: &EncodeOptions) -> [usize; 2] {
    let mut segments = encode(chunk, options).unwrap();
    segments.sort_by_key(|segment| (segment.key.layer_group, segment.key.side, segment.key.quality));
    let of_one = |a: &Segment, b: &Segment| (a.key.layer_group, a.key.side) == (b.key.layer_group, b.key.side);
    let groups = segments.chunk_by(of_one).map(|group| {
        let group: Vec<&[u8]> = group.iter().map(|segment| segment.bytes.as_slice()).collect();
        [metadata_bytes(&group).unwrap(), group.iter().map(|bytes| bytes.len()).sum()]
    });
    groups.fold([0; 2], |[metadata, all], group: [usize; 2]| [metadata + group[0], all + group[1]])
}

#[test]
fn zeros_are_nothing_but_metadata() {
    let chunk = KvChunk::zeroed(geometry(2, 2, 40, Dtype::F16), 70).unwrap();
    for level in Level::ALL {
        let [metadata, all] = counted(&chunk, &EncodeOptions { exact_tokens: 0, ..options(level, 2) });
        assert_eq!(metadata, all, "{level}");
    }
}

#[test]
fn elements_that_are_kept_as_they_are_are_none() {
    let like = model_like(geometry(2, 2, 40, Dtype::F32), 70, 1);
    let noise = like.bytes().iter().map(|byte| byte.wrapping_mul(167) | 1).collect();
    let noise = KvChunk::from_bytes(*like.geometry(), 70, noise).unwrap();
    let verbatim = counted(&noise, &options(Level::Q0, 2));
    let exact = counted(&like, &EncodeOptions { exact_tokens: 70, ..options(Level::Q3, 2) });
    for [metadata, all] in [verbatim, exact] {
        assert_eq!(all - metadata, like.bytes().len());
    }
}

/// At Q2, everything but words and escapes has a size that is known; so have they by what is left.
#[test]
fn metadata_of_q2_is_a_thirtieth_at_the_geometry_of_a_large_model() {
    let (num_tokens, num_heads, head_dim) = (256, 8, 128);
    let chunk = model_like(geometry(12, num_heads, head_dim, Dtype::Bf16), num_tokens, 1);
    let [metadata, all] = counted(&chunk, &options(Level::Q2, 1));
    let tile = 4 + 8 + head_dim as usize + 32 * 4;
    let segment = 96 + 4 + 2 * num_tokens + num_heads as usize * tile;
    let padding = metadata - 2 * 12 * segment;
    assert!(padding <= 2 * 12 * num_heads as usize * 3, "{padding}");
    assert!(metadata * 30 < all, "{metadata} of {all}");
}

#[test]
fn parameters_of_upper_layers_are_those_of_channels_without_values() {
    let chunk = model_like(geometry(1, 2, 64, Dtype::Bf16), 256, 1);
    let mut segments = encode(&chunk, &options(Level::Q3, 1)).unwrap();
    segments.retain(|segment| segment.key.side == Side::V);
    let [base, upper] = &segments[..] else { panic!("two layers") };
    let count = |layers: &[&[u8]]| metadata_bytes(layers).unwrap();
    let of_upper = count(&[&base.bytes, &upper.bytes]) - count(&[&base.bytes]);
    // Header, index of two tiles, their headers, parameters, states and padding.
    assert!((96 + 2 * (4 + 8)..=96 + 2 * (4 + 8 + 64 + 128 + 3)).contains(&of_upper), "{of_upper}");
    assert!(of_upper < upper.bytes.len() / 2);
    assert!(metadata_bytes(&[&upper.bytes]).is_err());
}
