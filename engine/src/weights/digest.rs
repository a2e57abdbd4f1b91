//! What makes two sets of weights the same, however they are cut into files.

use super::Checkpoint;
use super::shard::Shard;
use crate::Result;

/// Bytes hashed at a time.
const BUFFER_BYTES: usize = 1 << 20;

/// Digest of all tensors of a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WeightsDigest(pub [u8; 32]);

impl Checkpoint {
    /// BLAKE3 over the tensors in the order of their names. For each: name, type as safetensors spells it, shape and
    /// bytes, the first two preceded by their length as u32, the shape by its rank as u32, its sizes and the number of
    /// bytes as u64; all little-endian. Cutting the weights into other files does not change it.
    ///
    /// # Errors
    /// `Unavailable` where a file cannot be read.
    pub fn digest(&self) -> Result<WeightsDigest> {
        let mut hasher = blake3::Hasher::new();
        let mut buffer = vec![0; BUFFER_BYTES];
        for (name, &shard) in &self.locations {
            absorb(&mut hasher, &mut buffer, &self.shards[shard], name)?;
        }
        Ok(WeightsDigest(*hasher.finalize().as_bytes()))
    }
}

fn absorb(hasher: &mut blake3::Hasher, buffer: &mut [u8], shard: &Shard, name: &str) -> Result<()> {
    let stored = shard.stored(name)?;
    let dtype = format!("{:?}", stored.dtype);
    for text in [name, &dtype] {
        hasher.update(&(text.len() as u32).to_le_bytes()).update(text.as_bytes());
    }
    hasher.update(&(stored.shape.len() as u32).to_le_bytes());
    for &size in &stored.shape {
        hasher.update(&(size as u64).to_le_bytes());
    }
    let (mut offset, end) = stored.data_offsets;
    hasher.update(&((end - offset) as u64).to_le_bytes());
    while offset < end {
        let count = buffer.len().min(end - offset);
        shard.read_at(offset, &mut buffer[..count])?;
        hasher.update(&buffer[..count]);
        offset += count;
    }
    Ok(())
}

impl std::fmt::Display for WeightsDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
