//! Elements to exponents and raw bits and back, for bf16, whose raw bits are a byte.

use super::Isa;
use super::isa::Kind;
use crate::element::Element;
use crate::plane::{BlockView, BlockViewMut, Plane, PlaneShape};
use crate::rows::{BLOCK_CHANNELS, Square, TileRows, row_tokens};
use crate::tile::rans::LANES;
use half::bf16;

/// Splits the elements of a head: `exponents` gets the complements of the biased exponents, and `raw` the signs above the
/// mantissas, `[channel][token]`.
pub(crate) fn split(isa: Isa, plane: &Plane<'_>, head: usize, exponents: &mut TileRows, raw: &mut [u8]) {
    let shape = &plane.shape;
    assert_eq!(raw.len(), shape.head_dim * shape.num_tokens);
    let wide = match isa.kind() {
        Kind::Scalar => false,
        #[cfg(target_arch = "x86_64")]
        Kind::Avx2 => {
            super::avx2::split(plane, head, exponents, raw);
            true
        }
        #[cfg(target_arch = "x86_64")]
        Kind::Avx512 => {
            super::avx512::split(plane, head, exponents, raw);
            true
        }
    };
    for block in 0..shape.num_blocks() {
        let view = plane.block(head, block);
        for row in 0..exponents.rows_per_channel() {
            if !wide || shape.square_start(row * LANES, head, block).is_none() {
                split_square(&view, block, row, exponents, raw);
            }
        }
    }
}

fn split_square(view: &BlockView<'_>, block: usize, row: usize, exponents: &mut TileRows, raw: &mut [u8]) {
    let num_tokens = exponents.num_tokens();
    let square = &mut exponents.block_mut(block)[row];
    for (token, lane) in (row * LANES..).zip(0..row_tokens(num_tokens, row)) {
        for (channel, element) in view.line(token).chunks_exact(bf16::BYTES).enumerate() {
            let (biased, bits) = bf16::split(bf16::load(element));
            square[channel][lane] = !biased;
            raw[(block * BLOCK_CHANNELS + channel) * num_tokens + token] = bits as u8;
        }
    }
}

/// The parts of the elements of a block of channels of a head: those that [`split`] gives.
#[derive(Debug)]
pub(crate) struct PartsBlock<'a> {
    pub(crate) head: usize,
    pub(crate) block: usize,
    pub(crate) exponents: &'a [Square],
    /// Of each channel at least as many as there are tokens.
    pub(crate) raw: [&'a [u8]; BLOCK_CHANNELS],
}

/// Writes the elements of blocks to their plane: the inverse of [`split`].
///
/// Rows are written one after the other, each in all blocks: blocks should be neighbours, in order.
pub(crate) fn join(isa: Isa, blocks: &[PartsBlock<'_>], shape: &PlaneShape, plane: &mut [u8]) {
    let wide = match isa.kind() {
        Kind::Scalar => false,
        #[cfg(target_arch = "x86_64")]
        Kind::Avx2 => {
            super::avx2::join(blocks, shape, plane);
            true
        }
        #[cfg(target_arch = "x86_64")]
        Kind::Avx512 => {
            super::avx512::join(blocks, shape, plane);
            true
        }
    };
    for parts in blocks {
        let mut view = BlockViewMut::new(shape, plane, parts.head, parts.block);
        for (row, square) in parts.exponents.iter().enumerate() {
            if !wide || shape.square_start(row * LANES, parts.head, parts.block).is_none() {
                join_square(parts, square, row, row_tokens(shape.num_tokens, row), &mut view);
            }
        }
    }
}

fn join_square(parts: &PartsBlock<'_>, square: &Square, row: usize, num_tokens: usize, view: &mut BlockViewMut<'_>) {
    for (token, lane) in (row * LANES..).zip(0..num_tokens) {
        let channels = square.iter().zip(&parts.raw);
        for (element, (exponents, raw)) in view.line_mut(token).chunks_exact_mut(bf16::BYTES).zip(channels) {
            bf16::store(bf16::join(!exponents[lane], u32::from(raw[token])), element);
        }
    }
}
