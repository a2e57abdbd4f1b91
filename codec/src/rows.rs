//! Symbols between the entropy coder and a level, and the squares of bytes by which they are turned.

use crate::tile::rans::LANES;

/// Channels of a block: as many as a row has tokens, so that a row of a block is a square.
pub(crate) const BLOCK_CHANNELS: usize = 32;

/// A row's symbols, one byte per token.
pub(crate) type Row = [u8; LANES];

/// One row of 32 channels, `[channel][token]`; turned, one byte of 32 channels for each of 32 tokens.
pub(crate) type Square = [Row; BLOCK_CHANNELS];

/// Symbols of consecutive channels of one tile: `[block][row][channel][token]`.
///
/// What lies beyond a short row, or beyond the last channel of a block that is not whole, may be anything.
#[derive(Debug, Default)]
pub(crate) struct TileRows {
    squares: Vec<Square>,
    num_channels: usize,
    num_tokens: usize,
}

impl TileRows {
    /// Rows of zeros.
    pub(crate) fn zeroed(num_channels: usize, num_tokens: usize) -> Self {
        let num_squares = num_channels.div_ceil(BLOCK_CHANNELS) * num_tokens.div_ceil(LANES);
        Self { squares: vec![[[0; LANES]; BLOCK_CHANNELS]; num_squares], num_channels, num_tokens }
    }

    /// Channels held.
    #[inline]
    pub(crate) fn num_channels(&self) -> usize {
        self.num_channels
    }

    /// Tokens of each channel.
    #[inline]
    pub(crate) fn num_tokens(&self) -> usize {
        self.num_tokens
    }

    /// Rows of each channel.
    #[inline]
    pub(crate) fn rows_per_channel(&self) -> usize {
        self.num_tokens.div_ceil(LANES)
    }

    /// The rows of a block, `[row][channel][token]`.
    #[inline]
    pub(crate) fn block(&self, block: usize) -> &[Square] {
        let rows = self.rows_per_channel();
        &self.squares[block * rows..(block + 1) * rows]
    }

    /// The rows of a block, to write.
    #[inline]
    pub(crate) fn block_mut(&mut self, block: usize) -> &mut [Square] {
        let rows = self.rows_per_channel();
        &mut self.squares[block * rows..(block + 1) * rows]
    }

    /// The rows of a block, the short one apart.
    #[inline]
    pub(crate) fn split_block_mut(&mut self, block: usize) -> SplitRows<'_> {
        let (num_whole, short_tokens) = (self.num_tokens / LANES, self.num_tokens % LANES);
        let (whole, short) = self.block_mut(block).split_at_mut(num_whole);
        SplitRows { whole, short: short.first_mut().map(|square| (square, short_tokens)) }
    }

    /// The rows of a channel, each cut to its tokens.
    pub(crate) fn channel(&self, channel: usize) -> impl DoubleEndedIterator<Item = &[u8]> + ExactSizeIterator {
        let num_tokens = self.num_tokens;
        let rows = self.block(channel / BLOCK_CHANNELS).iter().enumerate();
        rows.map(move |(row, square)| &square[channel % BLOCK_CHANNELS][..row_tokens(num_tokens, row)])
    }

    /// The rows of a channel, each cut to its tokens, to write.
    pub(crate) fn channel_mut(&mut self, channel: usize) -> impl DoubleEndedIterator<Item = &mut [u8]> {
        let num_tokens = self.num_tokens;
        let rows = self.block_mut(channel / BLOCK_CHANNELS).iter_mut().enumerate();
        rows.map(move |(row, square)| &mut square[channel % BLOCK_CHANNELS][..row_tokens(num_tokens, row)])
    }
}

/// The squares of a block: those of whole rows, and that of a short one with its number of tokens.
#[derive(Debug)]
pub(crate) struct SplitRows<'a> {
    pub(crate) whole: &'a mut [Square],
    pub(crate) short: Option<(&'a mut Square, usize)>,
}

/// Tokens of a row of a channel of `num_tokens` tokens.
pub(crate) fn row_tokens(num_tokens: usize, row: usize) -> usize {
    (num_tokens - row * LANES).min(LANES)
}
