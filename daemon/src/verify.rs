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

    /// Checks that the base quality has each of `num_layers` layers of both sides once, and that every further quality
    /// layer of `level` refines each layer group of the base.
    ///
    /// # Errors
    /// `Invalid`, naming the side and the layer.
    pub(crate) fn check(&self, level: Level, num_layers: usize) -> Result<()> {
        for side in Side::BOTH {
            self.check_base(side, num_layers)?;
            (1..level.qualities(side)).try_for_each(|quality| self.check_refinement(quality, side, level))?;
        }
        Ok(())
    }

    fn check_base(&self, side: Side, num_layers: usize) -> Result<()> {
        let mut next = 0;
        for layers in self.groups(0, side).map(|(_, layers)| layers) {
            if layers.start != next {
                return Err(uncovered(side, next, Some(layers)));
            }
            next = layers.end;
        }
        if next == num_layers { Ok(()) } else { Err(uncovered(side, next, None)) }
    }

    fn check_refinement(&self, quality: u8, side: Side, level: Level) -> Result<()> {
        let (mut refined, mut base) = (self.groups(quality, side), self.groups(0, side));
        loop {
            match (refined.next(), base.next()) {
                (None, None) => return Ok(()),
                (refined, base) if refined == base => {}
                (refined, base) => {
                    let [refined, base] = [refined, base].map(described);
                    return Err(Error::invalid(format!(
                        "side {side:?} of quality {quality}: {refined} where the base has {base}, and all {} quality \
                         layers of level {level} are put together",
                        level.qualities(side)
                    )));
                }
            }
        }
    }

    /// Layer groups of a quality layer, with the layers that each covers.
    fn groups(&self, quality: u8, side: Side) -> impl Iterator<Item = (u16, &Range<usize>)> {
        let groups = self.layers.range((quality, side, 0)..=(quality, side, u16::MAX));
        groups.map(|((_, _, layer_group), layers)| (*layer_group, layers))
    }
}

fn described(group: Option<(u16, &Range<usize>)>) -> String {
    group.map_or_else(|| "nothing".to_owned(), |(group, layers)| format!("layers {layers:?} in group {group}"))
}

fn uncovered(side: Side, layer: usize, found: Option<&Range<usize>>) -> Error {
    let found = found.map_or_else(|| "the segments end".to_owned(), |layers| format!("layers {layers:?} follow"));
    Error::invalid(format!("side {side:?} of quality 0: layer {layer} is due where {found}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two layers in a group each, in all quality layers of q3.
    fn whole() -> Coverage {
        let mut coverage = Coverage::default();
        for (quality, side) in [(0, Side::K), (1, Side::K), (2, Side::K), (0, Side::V), (1, Side::V)] {
            for layer in 0..2u16 {
                let key = SegmentKey { quality, layer_group: layer, side };
                coverage.add(key, usize::from(layer)..usize::from(layer) + 1);
            }
        }
        coverage
    }

    fn refusal(change: impl FnOnce(&mut BTreeMap<(u8, Side, u16), Range<usize>>)) -> String {
        let mut coverage = whole();
        change(&mut coverage.layers);
        coverage.check(Level::Q3, 2).unwrap_err().to_string()
    }

    #[test]
    fn a_chunk_is_whole_with_the_base_of_every_plane_and_all_that_refines_it() {
        assert_eq!(whole().check(Level::Q3, 2), Ok(()));
        assert!(whole().check(Level::Q3, 3).is_err(), "a third layer");
        let lacks_base = refusal(|layers| drop(layers.remove(&(0, Side::V, 1))));
        assert_eq!(lacks_base, "side V of quality 0: layer 1 is due where the segments end");
        for gone in [(1, Side::K, 0), (1, Side::V, 1), (2, Side::K, 1)] {
            let lacks_refinement = refusal(|layers| drop(layers.remove(&gone)));
            assert!(lacks_refinement.contains("quality layers of level q3 are put together"), "{lacks_refinement}");
        }
    }

    #[test]
    fn a_refinement_of_other_layers_than_the_base_is_refused() {
        let other_layers = refusal(|layers| {
            layers.remove(&(1, Side::K, 1));
            layers.insert((1, Side::K, 0), 0..2);
        });
        assert!(
            other_layers.contains("layers 0..2 in group 0 where the base has layers 0..1 in group 0"),
            "{other_layers}"
        );
    }
}
