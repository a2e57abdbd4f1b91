//! Progress bars, on standard error and only where that is a terminal.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar over tokens that are computed.
pub(super) fn tokens(what: &'static str, num_tokens: usize) -> ProgressBar {
    bar(what, num_tokens, "{msg:8} {wide_bar} {human_pos}/{human_len} tokens {per_sec} {eta}")
}

/// A bar over chunks that are encoded.
pub(super) fn chunks(what: &'static str, num_chunks: usize) -> ProgressBar {
    bar(what, num_chunks, "{msg:8} {wide_bar} {pos}/{len} chunks")
}

/// A bar over passes of the model over a text.
pub(super) fn passes(what: &'static str, num_passes: usize) -> ProgressBar {
    bar(what, num_passes, "{msg:8} {wide_bar} {human_pos}/{human_len} passes {eta}")
}

/// A bar over requests, whose message says what they take.
pub(super) fn requests(what: &'static str, num_requests: usize) -> ProgressBar {
    bar(what, num_requests, "{pos}/{len} requests {wide_bar} {msg}, {elapsed}, {eta} to go")
}

/// A bar over bytes on the wire; its length is set when it is known.
pub(super) fn bytes(what: &'static str) -> ProgressBar {
    bar(what, 0, "{msg:8} {wide_bar} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec}")
}

fn bar(what: &'static str, length: usize, template: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(length as u64).with_style(style).with_message(what)
}
