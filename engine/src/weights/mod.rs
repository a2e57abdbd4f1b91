//! Weights of a Hugging Face directory: one safetensors file, or several under an index.
//!
//! Owns finding, bounding and checking; what a tensor is for is the model's matter. Tensors are read one by one at
//! their offsets and packed by the caller, so that at no time more than one of them is held twice. A map of the file
//! would be no faster, and a file cut short under it would end the process instead of this call.

mod digest;
mod shard;
mod tensor;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use kvdepot_codec::Dtype;
use serde::Deserialize;

pub use digest::WeightsDigest;
pub(crate) use tensor::Tensor;

use crate::config::read_json;
use crate::{Error, Result};
use shard::Shard;

/// File of weights that are in one piece.
const SINGLE_FILE: &str = "model.safetensors";
/// Index of weights that are in several.
const INDEX_FILE: &str = "model.safetensors.index.json";

/// Opened weights: every file's header read and checked against its length.
#[derive(Debug)]
pub struct Checkpoint {
    shards: Vec<Shard>,
    /// Name of each tensor to the shard that holds it.
    locations: BTreeMap<String, usize>,
}

/// `model.safetensors.index.json`.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Checkpoint {
    /// Opens `model.safetensors`, or the files that `model.safetensors.index.json` names.
    ///
    /// # Errors
    /// `NotFound` where a file is missing, `Corrupt` where a header contradicts its file or the index its files.
    pub fn open(dir: &Path) -> Result<Self> {
        if dir.join(SINGLE_FILE).exists() {
            Self::of_shards(vec![Shard::open(&dir.join(SINGLE_FILE))?])
        } else if dir.join(INDEX_FILE).exists() {
            Self::open_index(dir)
        } else {
            Err(Error::NotFound(format!("neither {SINGLE_FILE} nor {INDEX_FILE} is in {}", dir.display())))
        }
    }

    fn open_index(dir: &Path) -> Result<Self> {
        let index: Index = read_json(&dir.join(INDEX_FILE))?;
        let mut files: Vec<&String> = index.weight_map.values().collect();
        files.sort();
        files.dedup();
        let shards = files.iter().map(|file| Shard::open(&sibling(dir, file)?)).collect::<Result<_>>()?;
        let checkpoint = Self::of_shards(shards)?;
        match index.weight_map.iter().find(|(name, _)| !checkpoint.locations.contains_key(*name)) {
            Some((name, file)) => {
                Err(Error::Corrupt(format!("{INDEX_FILE} places tensor {name} in {file}, where it is not")))
            }
            None => Ok(checkpoint),
        }
    }

    fn of_shards(shards: Vec<Shard>) -> Result<Self> {
        let mut locations = BTreeMap::new();
        for (idx, shard) in shards.iter().enumerate() {
            for name in shard.names() {
                if let Some(other) = locations.insert(name.to_owned(), idx) {
                    let (one, two) = (shards[other].path().display(), shard.path().display());
                    return Err(Error::Corrupt(format!("tensor {name} is both in {one} and in {two}")));
                }
            }
        }
        Ok(Self { shards, locations })
    }

    /// Reads a tensor of the shape the model needs.
    ///
    /// # Errors
    /// `Corrupt` where there is none of that name or its shape is another, `Incompatible` where its type is not bf16,
    /// f16 or f32.
    pub(crate) fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        self.shard_of(name)?.read(name, shape)
    }

    /// Element type of a tensor; none when it is not bf16, f16 or f32.
    pub(crate) fn dtype(&self, name: &str) -> Result<Option<Dtype>> {
        Ok(self.shard_of(name)?.dtype(name))
    }

    fn shard_of(&self, name: &str) -> Result<&Shard> {
        let idx = self.locations.get(name).ok_or_else(|| {
            let files: Vec<String> = self.shards.iter().map(|shard| shard.path().display().to_string()).collect();
            Error::Corrupt(format!("tensor {name} is missing from {}", files.join(", ")))
        })?;
        Ok(&self.shards[*idx])
    }
}

/// Path of a file that an index names: a plain name beside it, never a way out of the directory.
fn sibling(dir: &Path, file: &str) -> Result<PathBuf> {
    let mut components = Path::new(file).components();
    match (components.next(), components.next()) {
        (Some(Component::Normal(_)), None) => Ok(dir.join(file)),
        _ => Err(Error::Corrupt(format!("{INDEX_FILE} names {file:?}, which is not a file beside it"))),
    }
}
