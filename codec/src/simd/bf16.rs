//! Elements to exponents and raw bits and back, for bf16, whose raw bits are a byte.

use super::Isa;
use super::isa::Kind;
use crate::element::Element;
use crate::plane::{BlockView, BlockViewMut, Plane};
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

/// Writes the elements of one row of a block: the inverse of [`split`].
pub(crate) fn join(
    isa: Isa,
    [exponents, raw]: &[Square; 2],
    tokens: std::ops::Range<usize>,
    block: &mut BlockViewMut<'_>,
) {
    for (token, (exponents, raw)) in tokens.zip(exponents.iter().zip(raw)) {
        let line = block.line_mut(token);
        match (isa.kind(), <&mut [u8; 64]>::try_from(&mut *line)) {
            #[cfg(target_arch = "x86_64")]
            (Kind::Avx2, Ok(line)) => super::avx2::join_line(exponents, raw, line),
            _ => {
                let parts = exponents.iter().zip(raw);
                for (element, (exponent, raw)) in line.chunks_exact_mut(bf16::BYTES).zip(parts) {
                    bf16::store(bf16::join(!exponent, u32::from(*raw)), element);
                }
            }
        }
    }
}
