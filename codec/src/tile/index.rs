//! The tiles of a segment and the index of their lengths, by which a reader finds the kv heads it wants.
#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::cast_possible_truncation)
)]

use crate::Result;
use crate::cursor::Cursor;

/// Bytes of one tile's entry in the index.
pub(crate) const ENTRY_BYTES: usize = 4;

/// Tiles to write, and their lengths.
#[derive(Debug, Default)]
pub(crate) struct TileWriter {
    index: Vec<u8>,
    tiles: Vec<u8>,
}

impl TileWriter {
    /// Forgets the tiles.
    pub(crate) fn clear(&mut self) {
        self.index.clear();
        self.tiles.clear();
    }

    /// Adds the tile that `write` appends.
    pub(crate) fn push(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.tiles.len();
        write(&mut self.tiles);
        let length = u32::try_from(self.tiles.len().saturating_sub(start)).expect("a segment's bound fits 32 bits");
        self.index.extend_from_slice(&length.to_le_bytes());
    }

    /// The index.
    pub(crate) fn index(&self) -> &[u8] {
        &self.index
    }

    /// The tiles, one after the other.
    pub(crate) fn tiles(&self) -> &[u8] {
        &self.tiles
    }
}

/// The tiles of a segment, in order.
#[derive(Debug)]
pub(crate) struct TileReader<'a> {
    index: Cursor<'a>,
    tiles: Cursor<'a>,
}

impl<'a> TileReader<'a> {
    /// Reads `tiles` as cut by `index`.
    pub(crate) fn new(index: Cursor<'a>, tiles: Cursor<'a>) -> Self {
        Self { index, tiles }
    }

    /// The next tile.
    pub(crate) fn next_tile(&mut self) -> Result<Cursor<'a>> {
        let length = self.index.u32("a tile's length")?;
        self.tiles.split(length as usize, "a tile")
    }

    /// Checks that no bytes are left behind the last tile.
    pub(crate) fn finish(self) -> Result<()> {
        self.tiles.finish_padding(1)
    }
}
