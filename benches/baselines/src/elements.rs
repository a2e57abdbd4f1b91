//! Elements of K and V as `f32`.

use half::{bf16, f16};
use kvdepot_codec::{Dtype, Error, KvChunk, Result, Side};

/// The values of a run of elements.
pub(crate) fn load(dtype: Dtype, bytes: &[u8], values: &mut Vec<f32>) {
    let pairs = bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
    values.clear();
    match dtype {
        Dtype::Bf16 => values.extend(pairs.map(|bits| bf16::from_bits(bits).to_f32())),
        Dtype::F16 => values.extend(pairs.map(|bits| f16::from_bits(bits).to_f32())),
        Dtype::F32 => {
            values.extend(bytes.chunks_exact(4).map(|quad| f32::from_le_bytes([quad[0], quad[1], quad[2], quad[3]])));
        }
    }
}

/// Writes values as elements, each the nearest, ties to even.
pub(crate) fn store(dtype: Dtype, values: &[f32], bytes: &mut [u8]) {
    match dtype {
        Dtype::Bf16 => store_pairs(values, bytes, |value| bf16::from_f32(value).to_bits()),
        Dtype::F16 => store_pairs(values, bytes, |value| f16::from_f32(value).to_bits()),
        Dtype::F32 => {
            for (element, value) in bytes.chunks_exact_mut(4).zip(values) {
                element.copy_from_slice(&value.to_le_bytes());
            }
        }
    }
}

fn store_pairs(values: &[f32], bytes: &mut [u8], bits: impl Fn(f32) -> u16) {
    for (element, &value) in bytes.chunks_exact_mut(2).zip(values) {
        element.copy_from_slice(&bits(value).to_le_bytes());
    }
}

/// The values of one side of one layer, `[token][channel]`.
///
/// # Errors
/// `Invalid` when one is not finite.
pub(crate) fn load_plane(chunk: &KvChunk, layer: usize, side: Side, values: &mut Vec<f32>) -> Result<()> {
    load(chunk.geometry().dtype(), chunk.plane(layer, side), values);
    match values.iter().position(|value| !value.is_finite()) {
        Some(at) => {
            let (token, channel) = (at / chunk.geometry().channels(), at % chunk.geometry().channels());
            Err(Error::Invalid(format!(
                "channel {channel} of token {token} in {side:?} of layer {layer} is not finite"
            )))
        }
        None => Ok(()),
    }
}

/// Writes the values of one side of one layer.
pub(crate) fn store_plane(values: &[f32], chunk: &mut KvChunk, layer: usize, side: Side) {
    let dtype = chunk.geometry().dtype();
    store(dtype, values, chunk.plane_mut(layer, side));
}

/// Every layer of keys, then every layer of values.
pub(crate) fn planes_by_side(num_layers: usize) -> impl Iterator<Item = (usize, Side)> {
    Side::BOTH.into_iter().flat_map(move |side| (0..num_layers).map(move |layer| (layer, side)))
}
