//! Plain 8-bit integers.

use kvdepot_codec::{KvChunk, Result, Side};

use crate::Baseline;
use crate::elements;
use crate::reader::Reader;

/// Largest magnitude of a symbol.
const MAX_SYMBOL: f32 = 127.0;
/// Bytes of a scale.
const SCALE_BYTES: usize = 4;

/// Symmetric 8-bit integers with one scale per token and kv head, the largest magnitude over 127: what serving engines
/// offer as int8 KV per token and head. Scales are `f32`, as engines keep them, and counted.
#[derive(Debug, Clone, Copy)]
pub struct Int8;

impl Baseline for Int8 {
    fn name(&self) -> String {
        "int8".to_owned()
    }

    fn encode(&self, chunk: &KvChunk, _first_position: u64) -> Result<Vec<u8>> {
        let (geometry, mut values) = (chunk.geometry(), Vec::new());
        let (mut scales, mut symbols) = (Vec::new(), Vec::new());
        for layer in 0..geometry.num_layers() {
            for side in Side::BOTH {
                elements::load_plane(chunk, layer, side, &mut values)?;
                for head in values.chunks_exact(geometry.head_dim()) {
                    let scale = head.iter().fold(0f32, |largest, value| largest.max(value.abs())) / MAX_SYMBOL;
                    scales.extend_from_slice(&scale.to_le_bytes());
                    let factor = if scale > 0.0 { scale.recip() } else { 0.0 };
                    symbols.extend(head.iter().map(|value| symbol(*value, scale, factor)));
                }
            }
        }
        scales.append(&mut symbols);
        Ok(scales)
    }

    fn decode(&self, bytes: &[u8], into: &mut KvChunk) -> Result<()> {
        let (geometry, num_tokens) = (*into.geometry(), into.num_tokens());
        let heads_per_plane = num_tokens * geometry.num_kv_heads();
        let mut reader = Reader::new(bytes);
        let mut scales = Reader::new(reader.take(2 * geometry.num_layers() * heads_per_plane * SCALE_BYTES, "scales")?);
        let mut values = Vec::new();
        for layer in 0..geometry.num_layers() {
            for side in Side::BOTH {
                let scales = scales.take(heads_per_plane * SCALE_BYTES, "scales")?.chunks_exact(SCALE_BYTES);
                let symbols = reader.take(heads_per_plane * geometry.head_dim(), "symbols")?;
                values.clear();
                for (scale, symbols) in scales.zip(symbols.chunks_exact(geometry.head_dim())) {
                    let scale = f32::from_le_bytes([scale[0], scale[1], scale[2], scale[3]]);
                    values.extend(symbols.iter().map(|symbol| f32::from(symbol.cast_signed()) * scale));
                }
                elements::store_plane(&values, into, layer, side);
            }
        }
        reader.finish()
    }
}

/// A reciprocal that overflows belongs to a scale so small that dividing by it is what works.
fn symbol(value: f32, scale: f32, factor: f32) -> u8 {
    let scaled = if factor.is_finite() { value * factor } else { value / scale };
    (scaled.round_ties_even().clamp(-MAX_SYMBOL, MAX_SYMBOL) as i8).cast_unsigned()
}
