//! Symbols between the entropy coder and a level: consecutive channels of one tile, in whole rows.

use crate::tile::rans::LANES;

/// A row's symbols, one byte per lane.
pub(crate) type Row = [u8; LANES];

/// Symbols of some channels of a tile: `[channel][row][lane]`. The lanes beyond a short row hold anything.
#[derive(Debug)]
pub(crate) struct SymbolRows {
    rows: Vec<Row>,
    num_tokens: usize,
}

impl SymbolRows {
    /// Rows of zeros.
    pub(crate) fn zeroed(num_channels: usize, num_tokens: usize) -> Self {
        Self { rows: vec![[0; LANES]; num_channels * num_tokens.div_ceil(LANES)], num_tokens }
    }

    /// Tokens of each channel.
    pub(crate) fn num_tokens(&self) -> usize {
        self.num_tokens
    }

    /// Rows of each channel.
    pub(crate) fn rows_per_channel(&self) -> usize {
        self.num_tokens.div_ceil(LANES)
    }

    /// All rows.
    pub(crate) fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// All rows, to write.
    pub(crate) fn rows_mut(&mut self) -> &mut [Row] {
        &mut self.rows
    }

    /// The symbols of one channel, token by token.
    pub(crate) fn channel(&self, channel: usize) -> &[u8] {
        let rows = self.rows_per_channel();
        &self.rows[channel * rows..(channel + 1) * rows].as_flattened()[..self.num_tokens]
    }

    /// The symbols of one channel, token by token, to write.
    pub(crate) fn channel_mut(&mut self, channel: usize) -> &mut [u8] {
        let rows = self.rows_per_channel();
        &mut self.rows[channel * rows..(channel + 1) * rows].as_flattened_mut()[..self.num_tokens]
    }
}
