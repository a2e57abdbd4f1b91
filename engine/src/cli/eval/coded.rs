//! The codec's levels as schemes: the only place here that calls the codec.

use kvdepot_codec::{EncodeOptions, KvChunk, Level, Rope, decode, encode};
use kvdepot_engine::Runner;

use super::scheme::{Coded, Kind, Scheme};

/// Schemes of the levels, of all where none is named, with one for every number of quality layers that may be kept.
pub(super) fn levels(runner: &Runner, levels: &[Level]) -> Vec<Box<dyn Scheme>> {
    let mut levels = if levels.is_empty() { Level::ALL.to_vec() } else { levels.to_vec() };
    levels.sort();
    levels.dedup();
    let rope = runner.model().config().rope;
    let schemes = levels.into_iter().flat_map(|level| {
        let quality_layers =
            1 + EncodeOptions::new(level).segment_keys(&runner.geometry()).map(|key| key.quality).max().unwrap_or(0);
        (1..=quality_layers).map(move |kept| Box::new(Layered { level, rope, quality_layers, kept }) as Box<dyn Scheme>)
    });
    schemes.collect()
}

/// A level whose receiver keeps the first of its quality layers.
struct Layered {
    level: Level,
    rope: Rope,
    quality_layers: u8,
    kept: u8,
}

impl Scheme for Layered {
    /// The level's name; with the number of quality layers kept, where there are several.
    fn name(&self) -> String {
        match self.quality_layers {
            1 => self.level.name().to_owned(),
            _ => format!("{}:{}", self.level, self.kept),
        }
    }

    fn family(&self) -> String {
        self.level.name().to_owned()
    }

    fn kind(&self) -> Kind {
        Kind::Level
    }

    fn is_lossless(&self) -> bool {
        self.level.is_lossless() && self.kept == self.quality_layers
    }

    fn code(&self, context: &[KvChunk]) -> anyhow::Result<Coded> {
        Coded::each(context, |chunk, first_position| self.code_chunk(chunk, first_position))
    }
}

impl Layered {
    fn code_chunk(&self, chunk: &KvChunk, first_position: u64) -> anyhow::Result<(u64, KvChunk)> {
        let mut segments = encode(chunk, &EncodeOptions::new(self.level).at(self.rope, first_position))?;
        segments.retain(|segment| segment.key.quality < self.kept);
        let bytes = segments.iter().map(|segment| segment.bytes.len() as u64).sum();
        let segments = segments.iter().map(|segment| segment.bytes.as_slice());
        Ok((bytes, decode(*chunk.geometry(), chunk.num_tokens(), segments)?))
    }
}
