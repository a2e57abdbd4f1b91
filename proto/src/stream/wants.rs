//! What a receiver still wants of a fetch.

use kvdepot_codec::Level;

use super::SegmentRef;
use crate::{Error, Result, v1};

/// What a receiver wants: the chunks from one on, and their leading quality layers. Wants only ever shrink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wants {
    first_chunk: u32,
    max_qualities: u8,
}

impl Default for Wants {
    fn default() -> Self {
        Self { first_chunk: 0, max_qualities: Level::MAX_QUALITIES }
    }
}

impl Wants {
    /// The chunks from `first_chunk` on, with their first `max_qualities` quality layers; 0 for all.
    pub fn new(first_chunk: u32, max_qualities: u8) -> Self {
        let mut wants = Self::default();
        wants.adjust(first_chunk, max_qualities);
        wants
    }

    /// Takes wants back; gives whether that changed anything.
    pub fn adjust(&mut self, first_chunk: u32, max_qualities: u8) -> bool {
        let before = *self;
        self.first_chunk = self.first_chunk.max(first_chunk);
        if max_qualities > 0 {
            self.max_qualities = self.max_qualities.min(max_qualities);
        }
        *self != before
    }

    /// What a message wants.
    ///
    /// # Errors
    /// `Invalid` for a number of quality layers that no level has.
    pub fn from_message(first_chunk: u32, max_qualities: u32) -> Result<Self> {
        let in_range = u8::try_from(max_qualities).ok().filter(|qualities| *qualities <= Level::MAX_QUALITIES);
        let qualities = in_range.ok_or_else(|| {
            Error::invalid(format!("{max_qualities} quality layers wanted, at most {}", Level::MAX_QUALITIES))
        })?;
        Ok(Self::new(first_chunk, qualities))
    }

    /// Whether a segment is wanted.
    pub fn wants(&self, segment: SegmentRef) -> bool {
        segment.chunk_idx >= self.first_chunk && segment.key.quality < self.max_qualities
    }

    /// The first chunk that is wanted.
    pub fn first_chunk(&self) -> u32 {
        self.first_chunk
    }

    /// Leading quality layers that are wanted.
    pub fn max_qualities(&self) -> u8 {
        self.max_qualities
    }
}

impl From<Wants> for v1::Adjust {
    fn from(wants: Wants) -> Self {
        Self { first_chunk: wants.first_chunk, max_qualities: wants.max_qualities.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wants_only_shrink() {
        let mut wants = Wants::new(3, 2);
        assert!(!wants.adjust(1, 3) && !wants.adjust(0, 0));
        assert_eq!(wants, Wants::new(3, 2));
        assert!(wants.adjust(5, 0) && wants.adjust(0, 1));
        assert_eq!((wants.first_chunk(), wants.max_qualities()), (5, 1));
    }
}
