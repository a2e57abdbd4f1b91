//! Symbols of several tiles at once.

use super::Isa;
use super::isa::Kind;
use crate::Result;
use crate::model::Model;
use crate::rows::SymbolRows;
use crate::tile::rans::Decoder;

/// Most tiles that are decoded in lockstep: enough to hide the latency of a coder's chain of dependent steps.
pub(crate) const TILES: usize = 4;

/// Decodes the next channels of up to [`TILES`] tiles.
///
/// `models`: each tile's channels; those without a model get zeros. Tiles, models and symbols are of equal number, and
/// `symbols` have as many channels as there are models, of as many tokens as those of the other tiles.
pub(crate) fn decode_channels(
    isa: Isa,
    tiles: &mut [Decoder<'_>],
    models: &[Vec<Option<&Model>>],
    symbols: &mut [SymbolRows],
) -> Result<()> {
    match isa.kind() {
        Kind::Scalar => decode_scalar(tiles, models, symbols),
        #[cfg(target_arch = "x86_64")]
        Kind::Avx512 => super::avx512::decode_channels(tiles, models, symbols),
    }
}

fn decode_scalar(tiles: &mut [Decoder<'_>], models: &[Vec<Option<&Model>>], symbols: &mut [SymbolRows]) -> Result<()> {
    for ((tile, models), symbols) in tiles.iter_mut().zip(models).zip(symbols) {
        for (channel, model) in models.iter().enumerate() {
            match model {
                Some(model) => tile.channel(model, symbols.channel_mut(channel))?,
                None => symbols.channel_mut(channel).fill(0),
            }
        }
    }
    Ok(())
}
