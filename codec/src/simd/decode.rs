//! Symbols of several tiles at once.

use super::Isa;
use super::isa::Kind;
use crate::Result;
use crate::model::Model;
use crate::rows::{BLOCK_CHANNELS, TileRows};
use crate::tile::rans::Decoder;

/// Most tiles that are coded in lockstep: enough to hide the latency of a coder's chain of dependent steps.
pub(crate) const TILES: usize = 2;

/// The models of a block of channels; those without one have no coded symbols.
pub(crate) type BlockModels = [Option<&'static Model>; BLOCK_CHANNELS];

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
) -> Result<()> {
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

fn decode_scalar(tiles: &mut [Decoder<'_>], models: &[BlockModels], rows: &mut [TileRows], block: usize) -> Result<()> {
    for ((tile, models), rows) in tiles.iter_mut().zip(models).zip(rows) {
        for (channel, model) in models.iter().enumerate() {
            if let Some(model) = model {
                rows.channel_mut(block * BLOCK_CHANNELS + channel).try_for_each(|row| tile.row(model, row))?;
            }
        }
    }
    Ok(())
}
