//! KV for the tests of the baselines.
#![allow(dead_code, reason = "each test file uses its own part")]

use half::{bf16, f16};
use kvdepot_baselines::{Baseline, Result};
use kvdepot_codec::{Dtype, Geometry, KvChunk};
use rand::{Rng, SeedableRng, rngs::SmallRng};

pub(crate) fn geometry(num_layers: u32, num_kv_heads: u32, head_dim: u32, dtype: Dtype) -> Geometry {
    Geometry::new(num_layers, num_kv_heads, head_dim, dtype).unwrap()
}

/// KV of a few hidden courses, mixed into channels of different mean and spread. Equal seeds give equal chunks.
pub(crate) fn model_like(geometry: Geometry, num_tokens: usize, seed: u64) -> KvChunk {
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut mixing = SmallRng::seed_from_u64(1);
    let channels = 2 * geometry.num_layers() * geometry.channels();
    let mixes: Vec<[f32; 6]> = (0..channels).map(|_| std::array::from_fn(|_| mixing.random_range(-1.0..1.0))).collect();
    let tokens: Vec<[f32; 5]> = (0..num_tokens).map(|_| std::array::from_fn(|_| rng.random_range(-1.0..1.0))).collect();
    let planes = mixes.chunks_exact(geometry.channels());
    let values =
        planes.flat_map(|plane| tokens.iter().flat_map(move |token| plane.iter().map(move |mix| (mix, token))));
    let bytes = values
        .flat_map(|(mix, token)| {
            let mixed: f32 = mix.iter().zip(token).map(|(weight, hidden)| weight * hidden).sum();
            store(geometry.dtype(), mixed + mix[5] + rng.random_range(-0.05..0.05))
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

/// The values of a run of `f32` elements.
pub(crate) fn load_f32(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|element| f32::from_le_bytes(element.try_into().unwrap())).collect()
}

/// Encodes, and decodes over a chunk of other content.
pub(crate) fn round_trip(baseline: &dyn Baseline, chunk: &KvChunk, first_position: u64) -> Result<KvChunk> {
    let bytes = baseline.encode(chunk, first_position)?;
    let mut decoded = KvChunk::from_bytes(*chunk.geometry(), chunk.num_tokens(), vec![0xa5; chunk.bytes().len()])?;
    baseline.decode(&bytes, &mut decoded)?;
    Ok(decoded)
}
