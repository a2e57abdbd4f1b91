//! CacheGen's quantizer as LMCache ships it: the formulas of `codec/FORMAT.md`, "Q2", written down plainly.

use kvdepot_codec::{KvChunk, Result, Side};

use crate::elements;

/// Bins of a plane in LMCache's configuration of models.
pub(crate) fn bins(num_layers: usize, layer: usize, side: Side) -> u8 {
    let fine_layers = match side {
        _ if num_layers < 10 => num_layers,
        Side::K => 10,
        Side::V => 2,
    };
    if layer < fine_layers { 32 } else { 16 }
}

/// One side of one layer, quantized.
pub(crate) struct QuantizedPlane {
    /// Largest magnitude of each token.
    pub(crate) scales: Vec<f32>,
    /// `[token][channel]`.
    pub(crate) symbols: Vec<u8>,
}

impl QuantizedPlane {
    pub(crate) fn quantize(chunk: &KvChunk, layer: usize, side: Side) -> Result<Self> {
        let (num_tokens, channels) = (chunk.num_tokens(), chunk.geometry().channels());
        let center = center(bins(chunk.geometry().num_layers(), layer, side));
        let mut values = Vec::new();
        elements::load_plane(chunk, layer, side, &mut values)?;
        let mut plane = Self { scales: Vec::with_capacity(num_tokens), symbols: vec![0; values.len()] };
        let tokens = values.chunks_exact(channels).zip(plane.symbols.chunks_exact_mut(channels));
        for (values, symbols) in tokens {
            let scale = values.iter().fold(0f32, |largest, value| largest.max(value.abs()));
            let factor = center / scale;
            for (value, symbol) in values.iter().zip(symbols) {
                let rounded = (value * factor + center).round_ties_even();
                *symbol = if rounded.is_finite() { rounded as u8 } else { 0 };
            }
            plane.scales.push(scale);
        }
        Ok(plane)
    }

    /// Writes the elements that the symbols stand for.
    pub(crate) fn dequantize(&self, chunk: &mut KvChunk, layer: usize, side: Side) {
        let (num_tokens, channels) = (chunk.num_tokens(), chunk.geometry().channels());
        let center = center(bins(chunk.geometry().num_layers(), layer, side));
        let mut values = vec![0f32; num_tokens * channels];
        let tokens = values.chunks_exact_mut(channels).zip(self.symbols.chunks_exact(channels));
        for ((values, symbols), scale) in tokens.zip(&self.scales) {
            for (value, symbol) in values.iter_mut().zip(symbols) {
                *value = ((f32::from(*symbol) - center) / center) * scale;
            }
        }
        elements::store_plane(&values, chunk, layer, side);
    }
}

/// Largest symbol of a plane.
pub(crate) fn max_symbol(bins: u8) -> u8 {
    bins - 2
}

/// The symbol of zero.
fn center(bins: u8) -> f32 {
    f32::from(max_symbol(bins) / 2)
}

/// Turns `[rows][columns]` into `[columns][rows]`.
pub(crate) fn transposed(symbols: &[u8], columns: usize) -> Vec<u8> {
    let rows = symbols.len() / columns.max(1);
    let mut turned = vec![0; symbols.len()];
    for (row, symbols) in symbols.chunks_exact(columns).enumerate() {
        for (column, symbol) in symbols.iter().enumerate() {
            turned[column * rows + row] = *symbol;
        }
    }
    turned
}
