//! Symbols of several tiles at once.

use super::Isa;
use super::isa::Kind;
use crate::Result;
use crate::model::{ESCAPE, Model};
use crate::rows::{BLOCK_CHANNELS, TileRows};
use crate::tile::rans::Decoder;

/// Most tiles that are coded in lockstep: enough to hide the latency of a coder's chain of dependent steps.
pub(crate) const TILES: usize = 2;

/// How the symbols of a channel decode.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ChannelModel {
    pub(crate) model: &'static Model,
    /// Added to each symbol, modulo 2^8: what comes of it is the value, where that has no raw bits.
    pub(crate) bias: u8,
}

/// The models of a block of channels; those without one have no coded symbols.
pub(crate) type BlockModels = [Option<ChannelModel>; BLOCK_CHANNELS];

/// The channels of a block that have escapes: bit `c` is that of channel `c`.
pub(crate) type Escaped = u32;

/// Decodes the next block of channels of up to [`TILES`] tiles into block `block` of their rows. Rows of channels without
/// a model are left as they are.
///
/// Tiles, models and rows are of equal number; `rows` have equally many channels and tokens.
pub(crate) fn decode_block(
    isa: Isa,
    tiles: &mut [Decoder<'_>],
    models: &[BlockModels],
    rows: &mut [TileRows],
    block: usize,
) -> Result<[Escaped; TILES]> {
    for (tile, models) in tiles.iter().zip(models) {
        if models.iter().any(Option::is_some) {
            tile.check_states()?;
        }
    }
    match isa.kind() {
        Kind::Scalar => decode_scalar(tiles, models, rows, block),
        #[cfg(target_arch = "x86_64")]
        Kind::Avx2 => super::avx2::decode_block(tiles, models, rows, block),
    }
}

fn decode_scalar(
    tiles: &mut [Decoder<'_>],
    models: &[BlockModels],
    rows: &mut [TileRows],
    block: usize,
) -> Result<[Escaped; TILES]> {
    let mut escaped = [0; TILES];
    for (((tile, models), rows), escaped) in tiles.iter_mut().zip(models).zip(rows).zip(&mut escaped) {
        for (channel, model) in models.iter().enumerate() {
            let Some(model) = model else { continue };
            for row in rows.channel_mut(block * BLOCK_CHANNELS + channel) {
                *escaped |= Escaped::from(decode_row(tile, *model, row)?) << channel;
            }
        }
    }
    Ok(escaped)
}

/// Decodes a row of any number of tokens, and says whether it has escapes.
pub(super) fn decode_row(tile: &mut Decoder<'_>, model: ChannelModel, row: &mut [u8]) -> Result<bool> {
    tile.row(model.model, row)?;
    let escaped = row.contains(&ESCAPE);
    row.iter_mut().for_each(|symbol| *symbol = symbol.wrapping_add(model.bias));
    Ok(escaped)
}
