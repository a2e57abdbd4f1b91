//! Several tiles from symbols at once.

use super::Isa;
use super::isa::Kind;
use crate::model::Model;
use crate::rows::SymbolRows;
use crate::tile::rans::{self, Stream};

/// Encodes the symbols of some tiles, each from its own first state.
///
/// `models`: each tile's channels; those without a model are not coded. Their symbols are zeros.
pub(crate) fn encode_channels(isa: Isa, models: &[Vec<Option<&Model>>], symbols: &[SymbolRows]) -> Vec<Stream> {
    match isa.kind() {
        Kind::Scalar => models.iter().zip(symbols).map(|(models, symbols)| encode_tile(models, symbols)).collect(),
        #[cfg(target_arch = "x86_64")]
        Kind::Avx512 => super::avx512::encode_channels(models, symbols),
    }
}

fn encode_tile(models: &[Option<&Model>], symbols: &SymbolRows) -> Stream {
    let channels = models.iter().enumerate();
    rans::encode(channels.filter_map(|(channel, model)| Some(((*model)?, symbols.channel(channel)))))
}
