//! Whether segments are what was announced: their checksum, their header, and the layers that a chunk's segments cover.

use std::collections::BTreeMap;
use std::ops::Range;

use kvdepot_codec::{Geometry, Level, SegmentKey, Side};
use kvdepot_proto::{Error, Result};

/// What the header of a segment has to say.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expected {
    /// Shape of the scope's KV.
    pub(crate) geometry: Geometry,
    /// Tokens of the chunk.
    pub(crate) num_tokens: u32,
    /// Level of the chunk.
    pub(crate) level: Level,
}

impl Expected {
    /// Verifies the checksum of a segment and holds its header against what was announced; gives the model layers that
    /// it covers.
    ///
    /// # Errors
    /// `Corrupt` when the bytes are not what an encoder wrote, `Incompatible` when this build does not read them,
    /// `Invalid` when they are another segment than announced.
    pub(crate) fn verify(&self, key: SegmentKey, bytes: &[u8]) -> Result<Range<usize>> {
        let header = kvdepot_codec::verify(bytes)?;
        let found = (header.key(), *header.geometry(), header.num_tokens(), header.level());
        let expected = (key, self.geometry, self.num_tokens as usize, self.level);
        if found != expected {
            return Err(Error::invalid(format!("segment is {found:?} where {expected:?} was announced")));
        }
        Ok(header.first_layer()..header.first_layer() + header.num_layers())
    }
}

/// Which layers the segments of one chunk cover.
#[derive(Debug, Default)]
pub(crate) struct Coverage {
    layers: BTreeMap<(u8, Side, u16), Range<usize>>,
}

impl Coverage {
    /// Counts a segment in.
    pub(crate) fn add(&mut self, key: SegmentKey, layers: Range<usize>) {
        self.layers.insert((key.quality, key.side, key.layer_group), layers);
    }

    /// Checks that the base quality has both sides, and that every side of every quality has each of `num_layers`
    /// layers once.
    ///
    /// # Errors
    /// `Invalid`, naming the side and the layer.
    pub(crate) fn check(&self, num_layers: usize) -> Result<()> {
        let mut next_layer: BTreeMap<(u8, Side), usize> = Side::BOTH.map(|side| ((0, side), 0)).into();
        for (&(quality, side, _), layers) in &self.layers {
            let next = next_layer.entry((quality, side)).or_default();
            if layers.start != *next {
                return Err(uncovered(quality, side, *next, Some(layers)));
            }
            *next = layers.end;
        }
        match next_layer.into_iter().find(|(_, next)| *next != num_layers) {
            Some(((quality, side), next)) => Err(uncovered(quality, side, next, None)),
            None => Ok(()),
        }
    }
}

fn uncovered(quality: u8, side: Side, layer: usize, found: Option<&Range<usize>>) -> Error {
    let found = found.map_or_else(|| "the segments end".to_owned(), |layers| format!("layers {layers:?} follow"));
    Error::invalid(format!("side {side:?} of quality {quality}: layer {layer} is due where {found}"))
}
