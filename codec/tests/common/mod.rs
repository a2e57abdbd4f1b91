//! KV for the tests of the codec's promises.
#![allow(dead_code, reason = "each test file uses its own part")]

use half::{bf16, f16};
use kvdepot_codec::{Dtype, EncodeOptions, Geometry, KvChunk, Level, Result, Rope, Segment, decode, encode};
use proptest::prelude::*;
use rand::{Rng, SeedableRng, rngs::SmallRng};

pub(crate) const DTYPES: [Dtype; 3] = [Dtype::Bf16, Dtype::F16, Dtype::F32];

pub(crate) fn geometry(num_layers: u32, num_kv_heads: u32, head_dim: u32, dtype: Dtype) -> Geometry {
    Geometry::new(num_layers, num_kv_heads, head_dim, dtype).unwrap()
}

/// Small shapes, even odd ones.
pub(crate) fn geometries() -> impl Strategy<Value = Geometry> {
    (1u32..4, 1u32..4, 1u32..20, prop::sample::select(DTYPES.to_vec()))
        .prop_map(|(layers, heads, head_dim, dtype)| geometry(layers, heads, head_dim, dtype))
}

/// KV like that of a model: channels of different mean and spread. Equal seeds give equal chunks.
pub(crate) fn model_like(geometry: Geometry, num_tokens: usize, seed: u64) -> KvChunk {
    let mut rng = SmallRng::seed_from_u64(seed);
    let channels: Vec<(f32, f32)> = (0..geometry.channels())
        .map(|_| (rng.random_range(-1.0f32..1.0), f32::from(rng.random_range(1u8..32)) / 16.0))
        .collect();
    let num_elements = 2 * geometry.num_layers() * num_tokens * channels.len();
    let values = channels.iter().cycle().take(num_elements);
    let bytes = values
        .flat_map(|(mean, spread)| {
            let noise: f32 = (0..4).map(|_| rng.random_range(-1.0f32..1.0)).sum();
            store(geometry.dtype(), mean + spread * noise)
        })
        .collect();
    KvChunk::from_bytes(geometry, num_tokens, bytes).unwrap()
}

/// The bytes of the element nearest to `value`.
pub(crate) fn store(dtype: Dtype, value: f32) -> Vec<u8> {
    match dtype {
        Dtype::Bf16 => bf16::from_f32(value).to_le_bytes().to_vec(),
        Dtype::F16 => f16::from_f32(value).to_le_bytes().to_vec(),
        Dtype::F32 => value.to_le_bytes().to_vec(),
    }
}

/// The values of a run of elements.
pub(crate) fn load(dtype: Dtype, bytes: &[u8]) -> Vec<f32> {
    bytes
        .chunks_exact(dtype.bytes())
        .map(|element| match dtype {
            Dtype::Bf16 => bf16::from_le_bytes(element.try_into().unwrap()).to_f32(),
            Dtype::F16 => f16::from_le_bytes(element.try_into().unwrap()).to_f32(),
            Dtype::F32 => f32::from_le_bytes(element.try_into().unwrap()),
        })
        .collect()
}

/// Encodes and decodes.
pub(crate) fn round_trip(chunk: &KvChunk, options: &EncodeOptions) -> Result<KvChunk> {
    decode_all(chunk, &encode(chunk, options)?)
}

pub(crate) fn decode_all(like: &KvChunk, segments: &[Segment]) -> Result<KvChunk> {
    decode(*like.geometry(), like.num_tokens(), segments.iter().map(|segment| segment.bytes.as_slice()))
}

pub(crate) fn options(level: Level, layers_per_group: u16) -> EncodeOptions {
    EncodeOptions { layers_per_group, ..EncodeOptions::new(level).at(Rope::plain(10_000.0), 0) }
}

/// Takes out which segment one refines, and makes its checksum fit: so that a changed base is refined all the same.
pub(crate) fn loosen(bytes: &mut [u8]) {
    bytes[32..40].fill(0);
    seal(bytes);
}

/// Makes the checksum fit the bytes again, as an attacker would.
pub(crate) fn seal(bytes: &mut [u8]) {
    const CHECKSUM: std::ops::Range<usize> = 88..96;
    let mut hash = xxhash_rust::xxh3::Xxh3::new();
    hash.update(&bytes[..CHECKSUM.start]);
    hash.update(&bytes[CHECKSUM.end..]);
    bytes[CHECKSUM].copy_from_slice(&hash.digest().to_le_bytes());
}
