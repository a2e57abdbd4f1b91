//! Writing of KV dumps.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io;
use std::path::Path;

use safetensors::tensor::{SafeTensorError, View};

use super::{FIRST_POSITION, ROPE_THETA, tensor_name};
use crate::{Dtype, Error, KvChunk, Origin, Side};

/// Writes consecutive chunks of one context as a dump, plane by plane: no more than one is held beside the chunks.
///
/// # Errors
/// `InvalidInput` when there is no chunk, or their geometries differ; else those of the file system.
pub fn write(path: &Path, chunks: &[KvChunk], origin: &Origin) -> io::Result<()> {
    let geometry = *chunks.first().ok_or_else(|| Error::Invalid("a dump of no chunks".into()))?.geometry();
    if chunks.iter().any(|chunk| *chunk.geometry() != geometry) {
        return Err(Error::Invalid("chunks of different geometries in one dump".into()).into());
    }
    let num_tokens = chunks.iter().map(KvChunk::num_tokens).sum();
    let shape = [num_tokens, geometry.num_kv_heads(), geometry.head_dim()];
    let planes = (0..geometry.num_layers()).flat_map(|layer| Side::BOTH.map(|side| (layer, side)));
    let tensors = planes.map(|(layer, side)| (tensor_name(layer, side), Tensor { chunks, layer, side, shape }));
    safetensors::serialize_to_file(tensors, Some(strings(origin)), path).map_err(io_error)
}

fn strings(origin: &Origin) -> HashMap<String, String> {
    let numbers = [(ROPE_THETA, origin.rope_theta.to_string()), (FIRST_POSITION, origin.first_position.to_string())];
    let free = origin.metadata.iter().map(|(name, value)| (name.clone(), value.clone()));
    free.chain(numbers.map(|(name, number)| (name.to_owned(), number))).collect()
}

fn io_error(error: SafeTensorError) -> io::Error {
    match error {
        SafeTensorError::IoError(error) => error,
        other => io::Error::new(io::ErrorKind::InvalidInput, other),
    }
}

/// One plane over all chunks: `[tokens, kv_heads, head_dim]`.
struct Tensor<'a> {
    chunks: &'a [KvChunk],
    layer: usize,
    side: Side,
    shape: [usize; 3],
}

impl View for Tensor<'_> {
    fn dtype(&self) -> safetensors::Dtype {
        match self.chunks.first().map(|chunk| chunk.geometry().dtype()) {
            Some(Dtype::F16) => safetensors::Dtype::F16,
            Some(Dtype::F32) => safetensors::Dtype::F32,
            Some(Dtype::Bf16) | None => safetensors::Dtype::BF16,
        }
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        match self.chunks {
            [chunk] => Cow::Borrowed(chunk.plane(self.layer, self.side)),
            chunks => {
                let planes: Vec<&[u8]> = chunks.iter().map(|chunk| chunk.plane(self.layer, self.side)).collect();
                Cow::Owned(planes.concat())
            }
        }
    }

    fn data_len(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.plane(self.layer, self.side).len()).sum()
    }
}
