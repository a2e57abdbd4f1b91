//! Several tiles from symbols at once.

use super::Isa;
use super::isa::Kind;
use crate::model::Model;
use crate::rows::TileRows;
use crate::tile::rans::Encoder;

/// Encodes the symbols of up to [`TILES`](super::TILES) tiles.
///
/// `models`: each tile's channels; those without a model are not coded. Every coded symbol has slots in its model.
pub(crate) fn encode_tiles(isa: Isa, models: &[Vec<Option<&'static Model>>], rows: &[&TileRows]) -> Vec<Encoder> {
    let mut encoders: Vec<Encoder> =
        rows.iter().map(|rows| Encoder::new(rows.num_channels() * rows.num_tokens(), rows.num_tokens())).collect();
    match isa.kind() {
        Kind::Scalar => encode_scalar(&mut encoders, models, rows),
        #[cfg(target_arch = "x86_64")]
        Kind::Avx2 => super::avx2::encode_tiles(&mut encoders, models, rows),
    }
    encoders
}

fn encode_scalar(encoders: &mut [Encoder], models: &[Vec<Option<&'static Model>>], rows: &[&TileRows]) {
    for ((encoder, models), rows) in encoders.iter_mut().zip(models).zip(rows) {
        for (channel, model) in models.iter().enumerate().rev() {
            if let Some(model) = model {
                rows.channel(channel).rev().for_each(|row| encoder.push_row(model, row));
            }
        }
    }
}
