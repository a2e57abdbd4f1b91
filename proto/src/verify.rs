//! Whether a segment is what its manifest says.

use crate::{Error, ErrorKind, Manifest, ReceivedSegment, Result};

impl Manifest {
    /// Holds a segment against the manifest, and verifies its checksum.
    ///
    /// # Errors
    /// `Invalid` when there is no such chunk, `Corrupt` when the bytes are not what an encoder wrote, `Incompatible` when
    /// they are another segment than the manifest says, or one that this build does not read.
    pub fn verify(&self, segment: &ReceivedSegment) -> Result<()> {
        let (idx, key) = (segment.chunk_idx, segment.key);
        let unknown = || Error::invalid(format!("segment of chunk {idx} of {}", self.chunks.len()));
        let chunk = self.chunks.get(idx as usize).ok_or_else(unknown)?;
        let verified = kvdepot_codec::verify(&segment.bytes).map_err(Error::from);
        let header = verified.map_err(|error| error.context(format!("segment {key:?} of chunk {}", chunk.id)))?;
        let found = (header.key(), *header.geometry(), header.num_tokens(), header.level());
        let expected = (key, self.spec.geometry, chunk.num_tokens as usize, chunk.content.level);
        if found != expected {
            let message = format!("segment of chunk {} is {found:?}, the manifest says {expected:?}", chunk.id);
            return Err(Error::new(ErrorKind::Incompatible, message));
        }
        Ok(())
    }
}
