//! Calibration of KVTC on part of a dump.

use std::ops::Range;

use kvdepot_baselines::{Kvtc, KvtcCalibration, KvtcOptions};
use kvdepot_client::Result;
use kvdepot_codec::{KvChunk, dump::KvDump};

/// Fewest tokens that are coded: beyond the first 4 and the last 128, which stay as they are.
pub(super) const MIN_CONTEXT_TOKENS: usize = 256;

/// KVTC coders of some tokens of a dump, and a note on what they were calibrated on; none for too few tokens.
pub(super) fn calibrate(dump: &KvDump<'_>, tokens: Range<usize>, what: &str) -> Result<Option<(Vec<Kvtc>, String)>> {
    let useful = KvtcCalibration::useful_tokens(dump.geometry());
    let num_tokens = tokens.len().min(*useful.end()).min(KvChunk::MAX_TOKENS);
    if !useful.contains(&num_tokens) {
        return Ok(None);
    }
    let chunk = dump.chunk(tokens.start, num_tokens)?;
    let first_position = dump.first_position() + tokens.start as u64;
    let options = KvtcOptions::new(&dump.origin().rope()?, dump.geometry().head_dim());
    let coders = KvtcCalibration::fit(&[(first_position, chunk)], &options)?.coders().into();
    let note = format!("kvtc: calibrated on {num_tokens} tokens of {what}, from {} on", tokens.start);
    Ok(Some((coders, note)))
}
