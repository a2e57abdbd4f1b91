//! Prints what each level makes of a KV dump: bits per value and ratio by side, and the measured distortion.
//!
//! `cargo run --release -p kvdepot-codec --example ratio -- DUMP.safetensors [CHUNK_TOKENS]`

use kvdepot_codec::dump::KvDump;
use kvdepot_codec::{Distortion, EncodeOptions, Level, Result, SegmentHeader, Side, encode};

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("usage: ratio DUMP.safetensors [CHUNK_TOKENS]")?;
    let chunk_tokens = arguments.next().map_or(Ok(256), |text| text.parse())?;
    let bytes = std::fs::read(path)?;
    let dump = KvDump::parse(&bytes)?;
    println!("level  side  bits/value  ratio  mse        max error  max head error norm");
    for level in Level::ALL {
        let headers = encode_all(&dump, level, chunk_tokens)?;
        for side in Side::BOTH {
            print_side(&dump, &headers, side);
        }
    }
    Ok(())
}

fn encode_all(dump: &KvDump<'_>, level: Level, chunk_tokens: usize) -> Result<Vec<SegmentHeader>> {
    let mut headers = Vec::new();
    for start in (0..dump.num_tokens()).step_by(chunk_tokens) {
        let chunk = dump.chunk(start, chunk_tokens.min(dump.num_tokens() - start))?;
        for segment in encode(&chunk, &EncodeOptions::new(level))? {
            headers.push(SegmentHeader::parse(&segment.bytes)?);
        }
    }
    Ok(headers)
}

fn print_side(dump: &KvDump<'_>, headers: &[SegmentHeader], side: Side) {
    let of_side: Vec<_> = headers.iter().filter(|header| header.key().side == side).collect();
    let encoded_bytes: usize = of_side.iter().map(|header| header.encoded_bytes()).sum();
    let plain_bytes = dump.geometry().kv_bytes(dump.num_tokens()) / 2;
    let ratio = plain_bytes as f64 / encoded_bytes as f64;
    let bits = 8.0 * dump.geometry().dtype().bytes() as f64 / ratio;
    let mse: f64 = of_side.iter().map(|header| header.distortion().mse * header.num_tokens() as f64).sum::<f64>()
        / of_side.iter().map(|header| header.num_tokens() as f64).sum::<f64>();
    let largest =
        |measure: fn(Distortion) -> f64| of_side.iter().map(|header| measure(header.distortion())).fold(0.0, f64::max);
    let (max_error, norm) = (largest(|d| d.max_error), largest(|d| d.max_head_error_norm));
    let level = of_side.first().map_or("", |header| header.level().name());
    println!("{level:5}  {side:?}     {bits:10.4}  {ratio:5.3}  {mse:9.3e}  {max_error:9.3e}  {norm:9.3e}");
}
