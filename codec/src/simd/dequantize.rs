//! Values to elements by a table per token.

use super::Isa;
use super::isa::Kind;
use super::turn::turn;
use crate::element::Element;
use crate::plane::{BlockViewMut, PlaneShape};
use crate::rows::{BLOCK_CHANNELS, Square};
use crate::tile::rans::LANES;

/// The elements of the magnitudes 0 to 15 of a token's values, byte by byte from the lowest: those of the negative values
/// have the sign bit too.
pub(crate) type TokenTable = [[u8; 16]; 4];

/// The table of each token: magnitude `m` is the element nearest to `fractions[m] * scale`.
pub(crate) fn token_tables<E: Element>(isa: Isa, fractions: &[f32; 16], scales: &[f32]) -> Vec<TokenTable> {
    match isa.kind() {
        #[cfg(target_arch = "x86_64")]
        Kind::Avx2 | Kind::Avx512 if E::IS_BF16 => super::avx2::token_tables(fractions, scales),
        _ => scales.iter().map(|&scale| token_table::<E>(fractions, scale)).collect(),
    }
}

fn token_table<E: Element>(fractions: &[f32; 16], scale: f32) -> TokenTable {
    let mut table = [[0; 16]; 4];
    for (magnitude, fraction) in fractions.iter().enumerate() {
        let bytes = E::from_f32(fraction * scale).to_le_bytes();
        table.iter_mut().zip(bytes).for_each(|(plane, byte)| plane[magnitude] = byte);
    }
    table
}

/// The element of a value, -15 to 15.
pub(crate) fn element_of<E: Element>(table: &TokenTable, value: i8) -> u32 {
    let magnitude = usize::from(value.unsigned_abs() % 16);
    let sign = u32::from(value < 0) << (8 * E::BYTES - 1);
    sign | table.iter().rev().fold(0, |bits, plane| bits << 8 | u32::from(plane[magnitude]))
}

/// What the values of a plane stand for.
#[derive(Debug)]
pub(crate) struct Dequantizer {
    /// Of each token.
    pub(crate) tables: Vec<TokenTable>,
    /// Largest magnitude that a value may have, at most 15.
    pub(crate) limit: u8,
}

/// The values of a block of channels of a head.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ValueBlock<'a> {
    pub(crate) head: usize,
    pub(crate) block: usize,
    pub(crate) rows: &'a [Square],
}

/// Writes the elements of blocks to their plane, and says whether all values are within the limit.
///
/// Rows are written one after the other, each in all blocks: blocks should be neighbours, in order.
pub(crate) fn dequantize<E: Element>(
    isa: Isa,
    dequantizer: &Dequantizer,
    blocks: &[ValueBlock<'_>],
    shape: &PlaneShape,
    plane: &mut [u8],
) -> bool {
    let mut within = true;
    let wide = match isa.kind() {
        #[cfg(target_arch = "x86_64")]
        Kind::Avx2 if E::BYTES == 2 => {
            within &= super::avx2::dequantize(dequantizer, blocks, shape, plane);
            true
        }
        #[cfg(target_arch = "x86_64")]
        Kind::Avx512 if E::BYTES == 2 => {
            within &= super::avx512::dequantize(dequantizer, blocks, shape, plane);
            true
        }
        _ => false,
    };
    let whole = shape.num_tokens.is_multiple_of(LANES) && shape.head_dim.is_multiple_of(BLOCK_CHANNELS);
    for values in blocks.iter().filter(|_| !wide || !whole) {
        let mut view = BlockViewMut::new(shape, plane, values.head, values.block);
        for (row, (square, tables)) in values.rows.iter().zip(dequantizer.tables.chunks(LANES)).enumerate() {
            if !wide || shape.square_start(row * LANES, values.head, values.block).is_none() {
                within &= dequantize_lines::<E>(tables, dequantizer.limit, &turn(isa, square), row, &mut view);
            }
        }
    }
    within
}

fn dequantize_lines<E: Element>(
    tables: &[TokenTable],
    limit: u8,
    values: &Square,
    row: usize,
    block: &mut BlockViewMut<'_>,
) -> bool {
    let mut within = true;
    for ((token, table), values) in (row * LANES..).zip(tables).zip(values) {
        for (element, value) in block.line_mut(token).chunks_exact_mut(E::BYTES).zip(values) {
            E::store(element_of::<E>(table, value.cast_signed()), element);
            within &= value.cast_signed().unsigned_abs() <= limit;
        }
    }
    within
}
