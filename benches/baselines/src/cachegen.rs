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
    /// `[channel][token]`.
    pub(crate) symbols: Vec<u8>,
}

impl QuantizedPlane {
    pub(crate) fn quantize(chunk: &KvChunk, layer: usize, side: Side) -> Result<Self> {
        let (num_tokens, channels) = (chunk.num_tokens(), chunk.geometry().channels());
        let center = center(bins(chunk.geometry().num_layers(), layer, side));
        let mut values = Vec::new();
        elements::load_plane(chunk, layer, side, &mut values)?;
        let mut plane = Self { scales: Vec::with_capacity(num_tokens), symbols: vec![0; values.len()] };
        for (token, values) in values.chunks_exact(channels).enumerate() {
            let scale = values.iter().fold(0f32, |largest, value| largest.max(value.abs()));
            let factor = center / scale;
            for (channel, value) in values.iter().enumerate() {
                let rounded = (value * factor + center).round_ties_even();
                plane.symbols[channel * num_tokens + token] = if rounded.is_finite() { rounded as u8 } else { 0 };
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
        for (token, (values, scale)) in values.chunks_exact_mut(channels).zip(&self.scales).enumerate() {
            for (channel, value) in values.iter_mut().enumerate() {
                let symbol = f32::from(self.symbols[channel * num_tokens + token]);
                *value = ((symbol - center) / center) * scale;
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
