//! Calibration of KVTC on part of a dump.

use std::ops::Range;

use kvdepot_baselines::{Kvtc, KvtcCalibration, KvtcOptions};
use kvdepot_client::Result;
use kvdepot_codec::{KvChunk, dump::KvDump};

/// Ratios that the paper's method is aimed at, before deflation.
const TARGET_RATIOS: [f64; 2] = [8.0, 16.0];
/// Fewest tokens that calibrate, and that are coded: beyond the first 4 and the last 128, which stay as they are.
pub(super) const MIN_CONTEXT_TOKENS: usize = 256;
/// Most tokens that calibrate.
const MAX_TOKENS: usize = KvChunk::MAX_TOKENS;
/// Most of them where a token has more features than that: the cost grows with the cube of the smaller number.
const MAX_TOKENS_OF_WIDE: usize = 512;

/// KVTC coders of some tokens of a dump, and a note on what they were calibrated on; none for too few tokens.
pub(super) fn calibrate(dump: &KvDump<'_>, tokens: Range<usize>, what: &str) -> Result<Option<(Vec<Kvtc>, String)>> {
    let features = dump.geometry().num_layers() * dump.geometry().channels();
    let limit = if features > MAX_TOKENS { MAX_TOKENS_OF_WIDE } else { MAX_TOKENS };
    let num_tokens = tokens.len().min(limit);
    if num_tokens < MIN_CONTEXT_TOKENS {
        return Ok(None);
    }
    let chunk = dump.chunk(tokens.start, num_tokens)?;
    let first_position = dump.first_position() + tokens.start as u64;
    let options = KvtcOptions::new(&dump.origin().rope()?, dump.geometry().head_dim());
    let calibration = KvtcCalibration::fit(&[chunk], first_position, &options)?;
    let coders = TARGET_RATIOS.map(|target_ratio| calibration.coder(target_ratio)).into();
    let note = format!("kvtc: calibrated on {num_tokens} tokens of {what}, from {} on", tokens.start);
    Ok(Some((coders, note)))
}
