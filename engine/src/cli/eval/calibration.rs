//! What KVTC is calibrated on: contexts of text that is not measured.

use std::fmt;
use std::ops::RangeInclusive;
use std::path::Path;

use indicatif::HumanCount;
use kvdepot_baselines::KvtcCalibration;
use kvdepot_client::Error;
use kvdepot_codec::{Geometry, KvChunk};
use kvdepot_engine::TextCodec;
use serde::Serialize;

use super::windows::{self, Windows};

/// How much of a text is taken.
#[derive(Debug, Clone)]
pub(super) struct Limits {
    /// Of each context, as long as those that are measured.
    context_tokens: usize,
    /// Of all together.
    tokens: RangeInclusive<usize>,
}

impl Limits {
    /// # Errors
    /// `Invalid` when a context is longer than KVTC can code, which is to do it whole.
    pub(super) fn new(geometry: &Geometry, context_tokens: usize) -> anyhow::Result<Self> {
        if context_tokens > KvChunk::MAX_TOKENS {
            return Err(Error::invalid(format!(
                "--baselines: KVTC codes contexts whole, which is done up to {} tokens, and these have {context_tokens}",
                KvChunk::MAX_TOKENS
            ))
            .into());
        }
        Ok(Self { context_tokens, tokens: KvtcCalibration::useful_tokens(geometry) })
    }
}

/// Contexts to calibrate on.
#[derive(Debug, Serialize)]
pub(super) struct Calibration {
    text: String,
    /// Whether they lie between the windows of the very text.
    between_windows: bool,
    tokens: usize,
    #[serde(skip)]
    contexts: Vec<Vec<u32>>,
}

impl Calibration {
    /// On a text of its own.
    ///
    /// # Errors
    /// `Invalid` when it is too short; as for any text.
    pub(super) fn on(text: &TextCodec, path: &Path, limits: &Limits) -> anyhow::Result<Self> {
        Self::take(&[&windows::tokens(text, path)?], path, false, limits)
    }

    /// On what lies between windows.
    ///
    /// # Errors
    /// `Invalid` when that is too little.
    pub(super) fn between(windows: &Windows, path: &Path, limits: &Limits) -> anyhow::Result<Self> {
        Self::take(&windows.between().collect::<Vec<_>>(), path, true, limits)
    }

    /// Takes whole contexts from the front of each run of tokens, the last one cut off at the limit.
    fn take(runs: &[&[u32]], path: &Path, between_windows: bool, limits: &Limits) -> anyhow::Result<Self> {
        let (mut tokens, mut contexts) = (0, Vec::new());
        for context in runs.iter().flat_map(|run| run.chunks_exact(limits.context_tokens)) {
            let taken = context.len().min(limits.tokens.end() - tokens);
            if taken == 0 {
                break;
            }
            contexts.push(context[..taken].to_vec());
            tokens += taken;
        }
        let calibration = Self { text: path.display().to_string(), between_windows, tokens, contexts };
        if !limits.tokens.contains(&tokens) {
            let (needed, context_tokens) = (limits.tokens.start(), limits.context_tokens);
            return Err(Error::invalid(format!(
                "too little text to calibrate KVTC on, which takes {needed} tokens in contexts of {context_tokens}: {}; \
                 name a longer one with --calibrate-on, or take fewer windows",
                calibration.source()
            ))
            .into());
        }
        Ok(calibration)
    }

    /// Each from position 0 on.
    pub(super) fn contexts(&self) -> &[Vec<u32>] {
        &self.contexts
    }

    fn source(&self) -> String {
        let place = if self.between_windows { " between the windows" } else { "" };
        format!("{} tokens of {}{place}", HumanCount(self.tokens as u64), self.text)
    }
}

impl fmt::Display for Calibration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "kvtc: calibrated on {}", self.source())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(runs: &[&[u32]], tokens: RangeInclusive<usize>) -> anyhow::Result<Calibration> {
        Calibration::take(runs, Path::new("a.txt"), true, &Limits { context_tokens: 3, tokens })
    }

    #[test]
    fn whole_contexts_are_taken_up_to_the_limit() {
        let runs: [&[u32]; 3] = [&[0, 1, 2, 3], &[4, 5], &[6, 7, 8, 9, 10, 11]];
        assert_eq!(take(&runs, 2..=100).unwrap().contexts, [[0, 1, 2], [6, 7, 8], [9, 10, 11]]);
        let limited = take(&runs, 2..=5).unwrap();
        assert_eq!((limited.contexts, limited.tokens), (vec![vec![0, 1, 2], vec![6, 7]], 5));
    }

    #[test]
    fn too_little_text_is_refused() {
        let error = take(&[&[0, 1, 2, 3, 4]], 4..=100).unwrap_err().to_string();
        assert!(error.contains("takes 4 tokens in contexts of 3: 3 tokens of a.txt between the windows"), "{error}");
    }
}
