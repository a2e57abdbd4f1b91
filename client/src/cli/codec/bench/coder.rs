//! Levels and baselines behind one face.

use std::collections::BTreeMap;

use kvdepot_baselines::Baseline;
use kvdepot_codec::{Codec, EncodeOptions, Isa, KvChunk, Level, Origin, Result, Side, metadata_bytes};

/// What a chunk became: what is decoded together, in pieces.
pub(super) type Encoded = Vec<Vec<Vec<u8>>>;

/// A way to encode and decode chunks.
pub(super) enum Coder {
    /// A level of the codec.
    Level(LevelCoder),
    /// Another codec.
    Baseline(Box<dyn Baseline>),
}

/// A level, on one instruction set, with its quality layers up to some of them.
pub(super) struct LevelCoder {
    pub(super) level: Level,
    pub(super) isa: Isa,
    /// The highest quality layer that is kept.
    pub(super) quality: u8,
    pub(super) origin: Origin,
    /// Whether the name tells the instruction set.
    pub(super) names_isa: bool,
}

impl LevelCoder {
    /// The highest quality layer of a level.
    pub(super) fn best_quality(level: Level) -> u8 {
        Side::BOTH.map(|side| level.qualities(side)).into_iter().max().unwrap_or(1) - 1
    }

    /// `q2`, `q2/avx512`, or `q3.0` where quality layers are left out.
    fn name(&self) -> String {
        let mut name = self.level.to_string();
        if self.quality < Self::best_quality(self.level) {
            name = format!("{name}.{}", self.quality);
        }
        if self.names_isa { format!("{name}/{}", self.isa) } else { name }
    }

    fn options(&self, first_position: u64) -> Result<EncodeOptions> {
        let options = EncodeOptions::new(self.level);
        Ok(if self.level.needs_rope() { options.at(self.origin.rope()?, first_position) } else { options })
    }

    fn encode(&self, chunk: &KvChunk, first_position: u64) -> Result<Encoded> {
        let mut groups = BTreeMap::<_, Vec<Vec<u8>>>::new();
        for segment in Codec::on(self.isa).encode(chunk, &self.options(first_position)?)? {
            if segment.key.quality <= self.quality {
                groups.entry((segment.key.layer_group, segment.key.side)).or_default().push(segment.bytes);
            }
        }
        Ok(groups.into_values().collect())
    }

    fn decode(&self, segments: &[Vec<u8>], into: &mut KvChunk) -> Result<()> {
        Codec::on(self.isa).decode_layers(&slices(segments), into).map(drop)
    }
}

impl Coder {
    pub(super) fn name(&self) -> String {
        match self {
            Self::Level(coder) => coder.name(),
            Self::Baseline(baseline) => baseline.name(),
        }
    }

    pub(super) fn encode(&self, chunk: &KvChunk, first_position: u64) -> Result<Encoded> {
        match self {
            Self::Level(coder) => coder.encode(chunk, first_position),
            Self::Baseline(baseline) => Ok(vec![vec![baseline.encode(chunk, first_position)?]]),
        }
    }

    /// Decodes into a chunk of the encoded one's shape.
    pub(super) fn decode(&self, encoded: &Encoded, into: &mut KvChunk) -> Result<()> {
        match self {
            Self::Level(coder) => encoded.iter().try_for_each(|segments| coder.decode(segments, into)),
            Self::Baseline(baseline) => encoded.iter().flatten().try_for_each(|bytes| baseline.decode(bytes, into)),
        }
    }

    /// Bytes of an encoded chunk that do not stand for elements; nothing where that is not known.
    pub(super) fn metadata_bytes(&self, encoded: &Encoded) -> Result<Option<usize>> {
        match self {
            Self::Level(_) => {
                encoded.iter().map(|segments| metadata_bytes(&slices(segments))).sum::<Result<_>>().map(Some)
            }
            Self::Baseline(_) => Ok(None),
        }
    }
}

fn slices(segments: &[Vec<u8>]) -> Vec<&[u8]> {
    segments.iter().map(Vec::as_slice).collect()
}
