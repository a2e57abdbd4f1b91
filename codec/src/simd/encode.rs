//! Tiles from symbols.

use super::Isa;
use super::isa::Kind;
use crate::model::Model;
use crate::rows::TileRows;
use crate::tile::rans::Encoder;

/// Encodes the symbols of some tiles.
///
/// `models`: each tile's channels; those without a model are not coded. Every coded symbol has slots in its model.
pub(crate) fn encode_tiles(isa: Isa, models: &[Vec<Option<&'static Model>>], rows: &[&TileRows]) -> Vec<Encoder> {
    let tiles = models.iter().zip(rows);
    let encode = |(models, rows): (&Vec<_>, &&TileRows)| {
        let encoder = Encoder::new(rows.num_channels() * rows.num_tokens(), rows.num_tokens());
        encode_tile(isa, models, rows, encoder)
    };
    tiles.map(encode).collect()
}

/// Encodes the symbols of one tile with an encoder that has been used before for one of the same shape, and gives it back.
pub(crate) fn encode_tile(
    isa: Isa,
    models: &[Option<&'static Model>],
    rows: &TileRows,
    mut encoder: Encoder,
) -> Encoder {
    encoder.restart();
    match isa.kind() {
        Kind::Scalar => encode_scalar(&mut encoder, models, rows),
        #[cfg(target_arch = "x86_64")]
        Kind::Avx2 => super::avx2::encode_tile(&mut encoder, models, rows),
        #[cfg(target_arch = "x86_64")]
        Kind::Avx512 => super::avx512::encode_tile(&mut encoder, models, rows),
    }
    encoder
}

fn encode_scalar(encoder: &mut Encoder, models: &[Option<&'static Model>], rows: &TileRows) {
    for (channel, model) in models.iter().enumerate().rev() {
        if let Some(model) = model {
            rows.channel(channel).rev().for_each(|row| encoder.push_row(model, row));
        }
    }
}
