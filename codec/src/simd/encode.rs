//! A tile from symbols.

use super::Isa;
use super::isa::Kind;
use crate::model::Model;
use crate::rows::TileRows;
use crate::tile::rans::Encoder;

/// Encodes the symbols of a tile with an encoder made for its shape, which forgets what it has.
///
/// `models`: those of the tile's channels; channels without one are not coded. Every coded symbol has slots in its model.
pub(crate) fn encode_tile(isa: Isa, models: &[Option<&'static Model>], rows: &TileRows, encoder: &mut Encoder) {
    encoder.restart();
    match isa.kind() {
        Kind::Scalar => encode_scalar(encoder, models, rows),
        #[cfg(target_arch = "x86_64")]
        Kind::Avx2 => super::avx2::encode_tile(encoder, models, rows),
        #[cfg(target_arch = "x86_64")]
        Kind::Avx512 => super::avx512::encode_tile(encoder, models, rows),
    }
}

fn encode_scalar(encoder: &mut Encoder, models: &[Option<&'static Model>], rows: &TileRows) {
    for (channel, model) in models.iter().enumerate().rev() {
        if let Some(model) = model {
            rows.channel(channel).rev().for_each(|row| encoder.push_row(model, row));
        }
    }
}
