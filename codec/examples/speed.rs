//! Measures each level on each instruction set, one core, in bytes of plain KV, beside memcpy of the same bytes.
//!
//! `cargo run --release -p kvdepot-codec --example speed -- DUMP.safetensors [REPEATS [CHUNK_TOKENS]]`: the dump's
//! chunks are decoded into `REPEATS` (64) copies of themselves, one after the other, so that caches do not hold them.

use std::hint::black_box;
use std::time::Instant;

use kvdepot_codec::dump::KvDump;
use kvdepot_codec::{Codec, EncodeOptions, Isa, KvChunk, Level, Segment};

/// Rounds of which the fastest counts: the machine may be shared.
const ROUNDS: usize = 5;

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("usage: speed DUMP.safetensors [REPEATS [CHUNK_TOKENS]]")?;
    let repeats: usize = arguments.next().map_or(Ok(64), |text| text.parse())?;
    let chunk_tokens: usize = arguments.next().map_or(Ok(256), |text| text.parse())?;
    let bytes = std::fs::read(path)?;
    let dump = KvDump::parse(&bytes)?;
    let starts = (0..dump.num_tokens()).step_by(chunk_tokens);
    let chunks = starts
        .map(|start| dump.chunk(start, chunk_tokens.min(dump.num_tokens() - start)))
        .collect::<kvdepot_codec::Result<Vec<_>>>()?;
    let chunks: Vec<KvChunk> = chunks.iter().cycle().take(chunks.len() * repeats).cloned().collect();
    let memcpy = memcpy(&chunks);
    println!("memcpy                {memcpy:6.2} GB/s");
    for level in Level::ALL {
        for isa in Isa::available() {
            measure(Codec::on(isa), level, isa, &chunks, memcpy)?;
        }
    }
    Ok(())
}

fn memcpy(chunks: &[KvChunk]) -> f64 {
    let mut copies: Vec<Vec<u8>> = chunks.iter().map(|chunk| chunk.bytes().to_vec()).collect();
    rate(chunks, || {
        for (copy, chunk) in copies.iter_mut().zip(chunks) {
            black_box(copy).copy_from_slice(chunk.bytes());
        }
    })
}

fn measure(codec: Codec, level: Level, isa: Isa, chunks: &[KvChunk], memcpy: f64) -> kvdepot_codec::Result<()> {
    let options = EncodeOptions::new(level);
    let encoded: Vec<Vec<Segment>> =
        chunks.iter().map(|chunk| codec.encode(chunk, &options)).collect::<kvdepot_codec::Result<_>>()?;
    let encode = rate(chunks, || {
        for chunk in chunks {
            black_box(codec.encode(chunk, &options)).expect("encoded before");
        }
    });
    let mut decoded = chunks.to_vec();
    let decode = rate(chunks, || {
        for (chunk, segments) in decoded.iter_mut().zip(&encoded) {
            for segment in segments {
                codec.decode_segment(&segment.bytes, chunk).expect("encoded before");
            }
        }
    });
    println!("{level} {isa:8} encode {encode:6.2} GB/s, decode {decode:6.2} GB/s, {:.2} of memcpy", decode / memcpy);
    Ok(())
}

/// Bytes of all chunks by the time of the fastest round, in GB/s.
fn rate(chunks: &[KvChunk], mut run: impl FnMut()) -> f64 {
    let bytes: usize = chunks.iter().map(|chunk| chunk.bytes().len()).sum();
    let seconds = (0..ROUNDS).map(|_| {
        let start = Instant::now();
        run();
        start.elapsed().as_secs_f64()
    });
    bytes as f64 / seconds.fold(f64::INFINITY, f64::min) / 1e9
}
