//! Progress bars, on standard error and only where that is a terminal.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar over bytes on the wire; its length is set when it is known.
pub(super) fn transfer(what: &'static str) -> ProgressBar {
    bar(what, 0, "{msg} {wide_bar} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec}")
}

/// A bar over chunks that are encoded or decoded.
pub(super) fn chunks(what: &'static str, num_chunks: usize) -> ProgressBar {
    bar(what, num_chunks as u64, "{msg} {wide_bar} {pos}/{len} chunks")
}

/// A bar over steps of different length, each with its name as the message.
pub(super) fn steps(what: &'static str, num_steps: usize) -> ProgressBar {
    bar(what, num_steps as u64, "{wide_bar} {pos}/{len} {msg}")
}

fn bar(what: &'static str, len: u64, template: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(len).with_style(style).with_message(what)
}
