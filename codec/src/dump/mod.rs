//! KV dumps: safetensors files that hold a context's KV as it is. `FORMAT.md`, "KV dump".
#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::cast_possible_truncation)
)]

mod write;

use std::collections::HashMap;

use safetensors::{SafeTensors, tensor::TensorView};

use crate::{Dtype, Error, Geometry, KvChunk, Origin, Result, Side};

pub use write::write;

/// Metadata that holds [`Origin::rope_theta`].
const ROPE_THETA: &str = "rope_theta";
/// Metadata that holds [`Origin::first_position`].
const FIRST_POSITION: &str = "first_position";

/// Name of the tensor of one side of one layer: `k.{layer}` or `v.{layer}`.
fn tensor_name(layer: usize, side: Side) -> String {
    match side {
        Side::K => format!("k.{layer}"),
        Side::V => format!("v.{layer}"),
    }
}

/// A KV dump, over the bytes of its file.
#[derive(Debug)]
pub struct KvDump<'a> {
    geometry: Geometry,
    num_tokens: usize,
    origin: Origin,
    /// By layer, K and V: `[tokens, kv_heads, head_dim]`.
    planes: Vec<[&'a [u8]; 2]>,
}

impl<'a> KvDump<'a> {
    /// Reads the header of a dump and finds its tensors; nothing is copied, so `bytes` may well be a mapped file.
    ///
    /// # Errors
    /// `Corrupt` when the bytes are not a safetensors file, `Invalid` when that is not a KV dump.
    ///
    /// # Examples
    /// ```
    /// use kvdepot_codec::{Dtype, Geometry, KvChunk, Origin, Rope, dump};
    ///
    /// let path = std::env::temp_dir().join(format!("kvdepot-doc-{}.safetensors", std::process::id()));
    /// let chunk = KvChunk::zeroed(Geometry::new(2, 1, 64, Dtype::Bf16)?, 40)?;
    /// dump::write(&path, &[chunk.clone()], &Origin::new(&Rope::plain(10_000.0), 0))?;
    /// let bytes = std::fs::read(&path)?;
    /// let dump = dump::KvDump::parse(&bytes)?;
    /// assert_eq!((dump.num_tokens(), dump.rope_theta()), (40, 10_000.0));
    /// assert_eq!(dump.chunk(0, 40)?, chunk);
    /// # std::fs::remove_file(&path)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn parse(bytes: &'a [u8]) -> Result<Self> {
        let not_safetensors = |error| Error::corrupt(0, format!("not a safetensors file: {error}"));
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(not_safetensors)?;
        let tensors = SafeTensors::deserialize(bytes).map_err(not_safetensors)?;
        let origin = read_origin(header.metadata().clone().unwrap_or_default())?;
        let first = tensors.tensor(&tensor_name(0, Side::K)).map_err(|_| Error::Invalid("no tensor k.0".into()))?;
        let num_layers = num_layers(&tensors)?;
        let (geometry, num_tokens) = shape_of(&first, num_layers)?;
        let planes = (0..num_layers).map(|layer| planes_of(&tensors, layer, &first)).collect::<Result<_>>()?;
        Ok(Self { geometry, num_tokens, origin, planes })
    }

    /// Shape of each token's KV.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Tokens held.
    pub fn num_tokens(&self) -> usize {
        self.num_tokens
    }

    /// Base of RoPE's frequencies.
    pub fn rope_theta(&self) -> f64 {
        self.origin.rope_theta
    }

    /// Position of the first token.
    pub fn first_position(&self) -> u64 {
        self.origin.first_position
    }

    /// Free strings.
    pub fn metadata(&self) -> &std::collections::BTreeMap<String, String> {
        &self.origin.metadata
    }

    /// RoPE, position and free strings together.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Copies `num_tokens` tokens from token `start` on into a chunk.
    ///
    /// # Errors
    /// `Invalid` when the dump has no such tokens, or a chunk not as many.
    pub fn chunk(&self, start: usize, num_tokens: usize) -> Result<KvChunk> {
        let end = start.saturating_add(num_tokens);
        if end > self.num_tokens {
            return Err(Error::Invalid(format!("tokens {start}..{end} of a dump of {}", self.num_tokens)));
        }
        let mut chunk = KvChunk::zeroed(self.geometry, num_tokens)?;
        let range = self.geometry.plane_bytes(start)..self.geometry.plane_bytes(end);
        for (layer, planes) in self.planes.iter().enumerate() {
            for (side, plane) in Side::BOTH.into_iter().zip(planes) {
                chunk.plane_mut(layer, side).copy_from_slice(plane.get(range.clone()).unwrap_or_default());
            }
        }
        Ok(chunk)
    }
}

fn read_origin(mut strings: HashMap<String, String>) -> Result<Origin> {
    let rope_theta = take_number::<f64>(&mut strings, ROPE_THETA)?;
    let first_position = take_number(&mut strings, FIRST_POSITION)?;
    if !(rope_theta.is_finite() && rope_theta > 0.0) {
        return Err(Error::Invalid(format!("{ROPE_THETA} is {rope_theta}")));
    }
    Ok(Origin { rope_theta, first_position, metadata: strings.into_iter().collect() })
}

fn take_number<T: std::str::FromStr>(strings: &mut HashMap<String, String>, name: &str) -> Result<T> {
    let text = strings.remove(name).ok_or_else(|| Error::Invalid(format!("the dump's metadata has no {name}")))?;
    text.parse().map_err(|_| Error::Invalid(format!("{name} is {text:?}, not a number")))
}

/// Half of the tensors, when all are `k.{layer}` and `v.{layer}` without a gap.
fn num_layers(tensors: &SafeTensors<'_>) -> Result<usize> {
    let num_layers = tensors.len().div_ceil(2);
    let expected = |layer| Side::BOTH.map(|side| tensor_name(layer, side));
    let expected: std::collections::HashSet<String> = (0..num_layers).flat_map(expected).collect();
    match tensors.names().into_iter().find(|name| !expected.contains(*name)) {
        Some(name) => {
            Err(Error::Invalid(format!("tensor {name:?} is none of k.{{layer}}, v.{{layer}} from layer 0 on")))
        }
        None => Ok(num_layers),
    }
}

fn shape_of(tensor: &TensorView<'_>, num_layers: usize) -> Result<(Geometry, usize)> {
    let dtype = match tensor.dtype() {
        safetensors::Dtype::BF16 => Dtype::Bf16,
        safetensors::Dtype::F16 => Dtype::F16,
        safetensors::Dtype::F32 => Dtype::F32,
        other => return Err(Error::Invalid(format!("tensors are {other}: use bf16, f16 or f32"))),
    };
    let &[num_tokens, num_kv_heads, head_dim] = tensor.shape() else {
        return Err(Error::Invalid(format!("shape {:?} is not [tokens, kv_heads, head_dim]", tensor.shape())));
    };
    if num_tokens == 0 {
        return Err(Error::Invalid("the dump holds no tokens".into()));
    }
    let [num_layers, num_kv_heads, head_dim] =
        [num_layers, num_kv_heads, head_dim].map(|size| u32::try_from(size).unwrap_or(u32::MAX));
    Ok((Geometry::new(num_layers, num_kv_heads, head_dim, dtype)?, num_tokens))
}

fn planes_of<'a>(tensors: &SafeTensors<'a>, layer: usize, like: &TensorView<'_>) -> Result<[&'a [u8]; 2]> {
    let plane = |side| {
        let name = tensor_name(layer, side);
        let tensor = tensors.tensor(&name).map_err(|_| Error::Invalid(format!("no tensor {name}")))?;
        if (tensor.shape(), tensor.dtype()) != (like.shape(), like.dtype()) {
            let [ours, theirs] = [&tensor, like].map(|tensor| format!("{:?} {}", tensor.shape(), tensor.dtype()));
            return Err(Error::Invalid(format!("{name} is {ours}, k.0 is {theirs}")));
        }
        Ok(tensor.data())
    };
    Ok([plane(Side::K)?, plane(Side::V)?])
}

#[cfg(test)]
mod tests;
