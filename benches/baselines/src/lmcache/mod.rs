//! CacheGen as LMCache ships it: its quantizer, its tables, its coder, its container.
//!
//! What a chunk's container holds, in LMCache's types: the cumulative frequencies of every channel of every plane,
//! `int16 [2 * layers, channels, 33]` (33 entries for planes of 16 bins too); each token's scale per plane, in the
//! dtype of the KV; and for every run of at most 256 tokens an `int32` length per channel and plane, then the channels'
//! bit streams. LMCache pickles these; what pickle adds is taken as nothing, in its favour.
//! Source: LMCache, `storage_backend/serde/cachegen_encoder.py`, `cachegen_basics.py` and its coder's kernels.

mod cdf;
mod coder;

use kvdepot_codec::{Dtype, KvChunk, Result};

use crate::Baseline;
use crate::cachegen::{QuantizedPlane, bins, max_symbol, transposed};
use crate::elements::{self, planes_by_side};
use crate::reader::Reader;
use cdf::{CDF_BYTES, Cdf};

/// Tokens that one bit stream of a channel holds at most.
const MAX_STREAM_TOKENS: usize = 256;
/// Bytes of a stream's length.
const LENGTH_BYTES: usize = 4;

/// LMCache's CacheGen: quantizer, tables per channel and chunk, bitwise arithmetic coder.
#[derive(Debug, Clone, Copy)]
pub struct LmCache;

impl Baseline for LmCache {
    fn name(&self) -> String {
        "lmcache".to_owned()
    }

    fn encode(&self, chunk: &KvChunk, _first_position: u64) -> Result<Vec<u8>> {
        let planes = planes_by_side(chunk.geometry().num_layers())
            .map(|(layer, side)| QuantizedPlane::quantize(chunk, layer, side))
            .collect::<Result<Vec<_>>>()?;
        let num_tokens = chunk.num_tokens();
        let by_channel: Vec<Vec<u8>> =
            planes.iter().map(|plane| transposed(&plane.symbols, chunk.geometry().channels())).collect();
        let channels: Vec<&[u8]> = by_channel.iter().flat_map(|symbols| symbols.chunks_exact(num_tokens)).collect();
        let cdfs: Vec<Cdf> = channels.iter().map(|symbols| Cdf::count(symbols)).collect();
        let mut bytes = Vec::new();
        cdfs.iter().for_each(|cdf| cdf.write(&mut bytes));
        planes.iter().for_each(|plane| write_scales(chunk.geometry().dtype(), &plane.scales, &mut bytes));
        for start in (0..num_tokens).step_by(MAX_STREAM_TOKENS) {
            let run = start..num_tokens.min(start + MAX_STREAM_TOKENS);
            write_run(channels.iter().map(|symbols| &symbols[run.clone()]), &cdfs, &mut bytes);
        }
        Ok(bytes)
    }

    fn decode(&self, bytes: &[u8], into: &mut KvChunk) -> Result<()> {
        let (geometry, num_tokens) = (*into.geometry(), into.num_tokens());
        let num_channels = 2 * geometry.num_layers() * geometry.channels();
        let mut reader = Reader::new(bytes);
        let tables = reader.take(num_channels * CDF_BYTES, "tables")?;
        let refuse = reader.clone();
        let cdfs: Option<Vec<Cdf>> = tables.chunks_exact(CDF_BYTES).map(Cdf::parse).collect();
        let cdfs = cdfs.ok_or_else(|| refuse.corrupt("a table does not rise"))?;
        let scales = read_scales(&mut reader, into)?;
        let mut by_channel = vec![0; num_channels * num_tokens];
        for start in (0..num_tokens).step_by(MAX_STREAM_TOKENS) {
            let run = start..num_tokens.min(start + MAX_STREAM_TOKENS);
            let channels = by_channel.chunks_exact_mut(num_tokens);
            read_run(&mut reader, channels.map(|symbols| &mut symbols[run.clone()]), &cdfs)?;
        }
        let end = reader.clone();
        reader.finish()?;
        let planes = by_channel.chunks_exact(num_tokens * geometry.channels()).zip(scales);
        for ((layer, side), (symbols, scales)) in planes_by_side(geometry.num_layers()).zip(planes) {
            let limit = max_symbol(bins(geometry.num_layers(), layer, side));
            if let Some(symbol) = symbols.iter().find(|symbol| **symbol > limit) {
                return Err(end.corrupt(format!("symbol {symbol} exceeds {limit}")));
            }
            QuantizedPlane { scales, symbols: transposed(symbols, num_tokens) }.dequantize(into, layer, side);
        }
        Ok(())
    }
}

/// Lengths of all streams of a run of tokens, then the streams.
fn write_run<'a>(channels: impl Iterator<Item = &'a [u8]>, cdfs: &[Cdf], bytes: &mut Vec<u8>) {
    let lengths_at = bytes.len();
    bytes.resize(lengths_at + cdfs.len() * LENGTH_BYTES, 0);
    for (channel, (symbols, cdf)) in channels.zip(cdfs).enumerate() {
        let start = bytes.len();
        coder::encode(symbols, cdf, bytes);
        let length = u32::try_from(bytes.len() - start).expect("a channel has few tokens");
        let at = lengths_at + channel * LENGTH_BYTES;
        bytes[at..at + LENGTH_BYTES].copy_from_slice(&length.to_le_bytes());
    }
}

fn read_run<'a>(reader: &mut Reader<'_>, channels: impl Iterator<Item = &'a mut [u8]>, cdfs: &[Cdf]) -> Result<()> {
    let lengths = reader.take(cdfs.len() * LENGTH_BYTES, "lengths")?;
    for ((symbols, cdf), length) in channels.zip(cdfs).zip(lengths.chunks_exact(LENGTH_BYTES)) {
        let length = u32::from_le_bytes([length[0], length[1], length[2], length[3]]);
        coder::decode(reader.take(length as usize, "a channel's stream")?, cdf, symbols);
    }
    Ok(())
}

/// Scales are magnitudes of elements, so their dtype holds them exactly.
fn write_scales(dtype: Dtype, scales: &[f32], bytes: &mut Vec<u8>) {
    let at = bytes.len();
    bytes.resize(at + scales.len() * dtype.bytes(), 0);
    elements::store(dtype, scales, &mut bytes[at..]);
}

/// The scales of every plane.
fn read_scales(reader: &mut Reader<'_>, shape: &KvChunk) -> Result<Vec<Vec<f32>>> {
    let (geometry, num_tokens) = (shape.geometry(), shape.num_tokens());
    let planes = (0..2 * geometry.num_layers()).map(|_| {
        let mut scales = Vec::new();
        elements::load(geometry.dtype(), reader.take(num_tokens * geometry.dtype().bytes(), "scales")?, &mut scales);
        Ok(scales)
    });
    planes.collect()
}
