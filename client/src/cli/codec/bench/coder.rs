//! Levels and baselines behind one face.

use kvdepot_baselines::Baseline;
use kvdepot_codec::{Codec, EncodeOptions, KvChunk, Level, Origin, Result, SegmentHeader};

/// A way to encode and decode chunks.
pub(super) enum Coder {
    /// A level of the codec.
    Level { name: String, codec: Codec, level: Level, origin: Origin },
    /// Another codec.
    Baseline(Box<dyn Baseline>),
}

impl Coder {
    pub(super) fn name(&self) -> String {
        match self {
            Self::Level { name, .. } => name.clone(),
            Self::Baseline(baseline) => baseline.name(),
        }
    }

    /// Encodes a chunk into its segments, or into the one piece that a baseline makes.
    pub(super) fn encode(&self, chunk: &KvChunk, first_position: u64) -> Result<Vec<Vec<u8>>> {
        match self {
            Self::Level { codec, level, origin, .. } => {
                let segments = codec.encode(chunk, &options(*level, origin, first_position))?;
                Ok(segments.into_iter().map(|segment| segment.bytes).collect())
            }
            Self::Baseline(baseline) => Ok(vec![baseline.encode(chunk, first_position)?]),
        }
    }

    /// Decodes into a chunk of the encoded one's shape.
    pub(super) fn decode(&self, encoded: &[Vec<u8>], into: &mut KvChunk) -> Result<()> {
        match self {
            Self::Level { codec, .. } => {
                encoded.iter().try_for_each(|segment| codec.decode_segment(segment, into).map(drop))
            }
            Self::Baseline(baseline) => encoded.iter().try_for_each(|bytes| baseline.decode(bytes, into)),
        }
    }

    /// Bytes of an encoded chunk that are neither symbols nor raw bits; none where that is not known.
    pub(super) fn metadata_bytes(&self, encoded: &[Vec<u8>]) -> Option<usize> {
        match self {
            Self::Level { .. } => encoded.iter().map(|segment| segment_metadata_bytes(segment)).sum(),
            Self::Baseline(_) => None,
        }
    }
}

/// How a chunk at a position is encoded.
fn options(level: Level, _origin: &Origin, _first_position: u64) -> EncodeOptions {
    EncodeOptions::new(level)
}

/// Segments do not say yet what of them is metadata.
fn segment_metadata_bytes(segment: &[u8]) -> Option<usize> {
    SegmentHeader::parse(segment).ok().and(None)
}
