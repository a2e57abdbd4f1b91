//! Progress of a prefill, on standard error and only where that is a terminal.

use std::time::Duration;

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use kvdepot_engine::{Pace, Prefix, Runner};

/// Prefills tokens under a progress bar.
pub(super) fn prefill(runner: &Runner, prefix: &mut Prefix, tokens: &[u32]) -> Result<Pace> {
    let style = ProgressStyle::with_template("prefill {wide_bar} {pos}/{len} tokens {per_sec} {eta}")?;
    let bar = ProgressBar::new(tokens.len() as u64).with_style(style);
    bar.enable_steady_tick(Duration::from_millis(200));
    let before = prefix.tokens().len();
    let pace = runner.prefill(prefix, tokens, |prefix| bar.set_position((prefix.tokens().len() - before) as u64));
    bar.finish_and_clear();
    Ok(pace?)
}
