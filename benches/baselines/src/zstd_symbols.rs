//! zstd on CacheGen's symbols.

use kvdepot_codec::{Error, KvChunk, Result, Side};

use crate::Baseline;
use crate::cachegen::{QuantizedPlane, bins, max_symbol};
use crate::elements::{self, planes_by_side};
use crate::reader::Reader;

/// zstd on the symbols of CacheGen's quantizer: the general-purpose coder that one would reach for first.
///
/// Symbols lie token by token, those of planes with 16 bins two to a byte, those of 32 bins one to a byte: on real KV
/// that was smaller than channel by channel, bit planes, or low nibbles and high bits apart. Scales precede the
/// symbols of a plane; one frame per chunk.
#[derive(Debug, Clone, Copy)]
pub struct ZstdSymbols {
    /// zstd's level: 1 is fast, 9 is thorough.
    pub compression: i32,
}

impl Baseline for ZstdSymbols {
    fn name(&self) -> String {
        format!("zstd-{}", self.compression)
    }

    fn encode(&self, chunk: &KvChunk, _first_position: u64) -> Result<Vec<u8>> {
        let geometry = chunk.geometry();
        let mut plain = Vec::new();
        for (layer, side) in planes_by_side(geometry.num_layers()) {
            let plane = QuantizedPlane::quantize(chunk, layer, side)?;
            let at = plain.len();
            plain.resize(at + plane.scales.len() * geometry.dtype().bytes(), 0);
            elements::store(geometry.dtype(), &plane.scales, &mut plain[at..]);
            pack(&plane.symbols, bins(geometry.num_layers(), layer, side), &mut plain);
        }
        zstd::bulk::compress(&plain, self.compression).map_err(|error| Error::Invalid(format!("zstd: {error}")))
    }

    fn decode(&self, bytes: &[u8], into: &mut KvChunk) -> Result<()> {
        let (geometry, num_tokens) = (*into.geometry(), into.num_tokens());
        let num_symbols = num_tokens * geometry.channels();
        let scale_bytes = num_tokens * geometry.dtype().bytes();
        let plane_bytes =
            |(layer, side)| scale_bytes + packed_bytes(num_symbols, bins(geometry.num_layers(), layer, side));
        let limit = planes_by_side(geometry.num_layers()).map(plane_bytes).sum();
        let plain = zstd::bulk::decompress(bytes, limit)
            .map_err(|error| Error::Corrupt { offset: 0, reason: format!("zstd: {error}") })?;
        let mut reader = Reader::new(&plain);
        for (layer, side) in planes_by_side(geometry.num_layers()) {
            read_plane(&mut reader, into, layer, side)?;
        }
        reader.finish()
    }
}

fn read_plane(reader: &mut Reader<'_>, into: &mut KvChunk, layer: usize, side: Side) -> Result<()> {
    let (geometry, num_tokens) = (*into.geometry(), into.num_tokens());
    let bins = bins(geometry.num_layers(), layer, side);
    let mut scales = Vec::new();
    elements::load(geometry.dtype(), reader.take(num_tokens * geometry.dtype().bytes(), "scales")?, &mut scales);
    let num_symbols = num_tokens * geometry.channels();
    let symbols = unpack(reader.take(packed_bytes(num_symbols, bins), "symbols")?, bins, num_symbols);
    if let Some(symbol) = symbols.iter().find(|symbol| **symbol > max_symbol(bins)) {
        return Err(reader.corrupt(format!("symbol {symbol} exceeds {}", max_symbol(bins))));
    }
    QuantizedPlane { scales, symbols }.dequantize(into, layer, side);
    Ok(())
}

fn packed_bytes(num_symbols: usize, bins: u8) -> usize {
    if bins == 16 { num_symbols.div_ceil(2) } else { num_symbols }
}

fn pack(symbols: &[u8], bins: u8, bytes: &mut Vec<u8>) {
    if bins == 16 {
        bytes.extend(symbols.chunks(2).map(|pair| pair[0] | pair.get(1).unwrap_or(&0) << 4));
    } else {
        bytes.extend_from_slice(symbols);
    }
}

fn unpack(bytes: &[u8], bins: u8, num_symbols: usize) -> Vec<u8> {
    if bins == 16 {
        bytes.iter().flat_map(|byte| [byte & 15, byte >> 4]).take(num_symbols).collect()
    } else {
        bytes.to_vec()
    }
}
