//! One safetensors file: its header is read when it is opened, its tensors when they are asked for.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use kvdepot_codec::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};

use super::Tensor;
use crate::{Error, Result};

/// Bytes of the field that gives the header's length.
const LENGTH_BYTES: u64 = 8;
/// Longest header, the limit of the safetensors library.
const MAX_HEADER_BYTES: u64 = 100_000_000;

/// An opened file whose header agrees with its length.
#[derive(Debug)]
pub(super) struct Shard {
    path: PathBuf,
    file: File,
    header: Metadata,
    /// Offset of the first tensor's first byte.
    tensors_start: u64,
}

impl Shard {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let mut file = File::open(path).map_err(Error::io(path))?;
        let file_bytes = file.metadata().map_err(Error::io(path))?.len();
        let corrupt = |reason: String| Error::Corrupt(format!("{}: {reason}", path.display()));
        if file_bytes < LENGTH_BYTES {
            return Err(corrupt(format!("{file_bytes} bytes are no safetensors file")));
        }
        let mut length = [0; LENGTH_BYTES as usize];
        file.read_exact(&mut length).map_err(Error::io(path))?;
        let header_bytes = u64::from_le_bytes(length);
        if header_bytes > MAX_HEADER_BYTES.min(file_bytes - LENGTH_BYTES) {
            return Err(corrupt(format!("a header of {header_bytes} bytes does not fit a file of {file_bytes}")));
        }
        let mut header = vec![0; header_bytes as usize];
        file.read_exact(&mut header).map_err(Error::io(path))?;
        let header: Metadata = serde_json::from_slice(&header).map_err(|error| corrupt(format!("header: {error}")))?;
        let tensors_start = LENGTH_BYTES + header_bytes;
        let promised = (header.data_len() as u64).saturating_add(tensors_start);
        if promised != file_bytes {
            return Err(corrupt(format!("{file_bytes} bytes where the header promises {promised}: fetch it again")));
        }
        Ok(Self { path: path.to_owned(), file, header, tensors_start })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.header.offset_keys()
    }

    pub(super) fn dtype(&self, name: &str) -> Option<Dtype> {
        self.header.info(name).and_then(float_dtype)
    }

    /// Reads a tensor of a known shape.
    pub(super) fn read(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let path = self.path.display();
        let stored = self.stored(name)?;
        if stored.shape != shape {
            return Err(Error::Corrupt(format!(
                "{path}: tensor {name} has shape {:?} where the model needs {shape:?}",
                stored.shape
            )));
        }
        let dtype = float_dtype(stored).ok_or_else(|| {
            Error::Incompatible(format!(
                "{path}: tensor {name} is {:?}: this engine reads bf16, f16 and f32",
                stored.dtype
            ))
        })?;
        let mut bytes = vec![0; stored.data_offsets.1 - stored.data_offsets.0];
        self.read_at(stored.data_offsets.0, &mut bytes)?;
        Ok(Tensor::new(dtype, shape, bytes))
    }

    /// Description of a tensor.
    pub(super) fn stored(&self, name: &str) -> Result<&TensorInfo> {
        let missing = || Error::Corrupt(format!("{}: tensor {name} is missing", self.path.display()));
        self.header.info(name).ok_or_else(missing)
    }

    /// Fills `bytes` from `offset`, counted as the header counts.
    pub(super) fn read_at(&self, offset: usize, bytes: &mut [u8]) -> Result<()> {
        self.file.read_exact_at(bytes, self.tensors_start + offset as u64).map_err(Error::io(&self.path))
    }
}

fn float_dtype(stored: &TensorInfo) -> Option<Dtype> {
    match stored.dtype {
        safetensors::Dtype::BF16 => Some(Dtype::Bf16),
        safetensors::Dtype::F16 => Some(Dtype::F16),
        safetensors::Dtype::F32 => Some(Dtype::F32),
        _ => None,
    }
}
