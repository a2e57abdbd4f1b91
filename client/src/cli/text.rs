//! Numbers, ages and tables as people read them.

use std::time::{Duration, SystemTime};

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use indicatif::{HumanBytes, HumanDuration};
use kvdepot_proto::ChunkId;

/// Digits of a chunk id in tables.
const SHORT_ID_DIGITS: usize = 12;

/// `1.23 MiB`.
pub(super) fn bytes(bytes: u64) -> String {
    HumanBytes(bytes).to_string()
}

/// The leading digits of an id: enough for `show`, `get` and `rm`.
pub(super) fn short_id(id: &ChunkId) -> String {
    id.to_string().chars().take(SHORT_ID_DIGITS).collect()
}

/// `3 minutes`, since `time`.
pub(super) fn age(time: SystemTime) -> String {
    HumanDuration(time.elapsed().unwrap_or_default()).to_string()
}

/// Milliseconds since 1970.
pub(super) fn unix_ms(time: SystemTime) -> u64 {
    millis(time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
}

/// Whole milliseconds.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// How many times smaller the stored bytes are.
pub(super) fn ratio(raw_bytes: u64, stored_bytes: u64) -> f64 {
    raw_bytes as f64 / stored_bytes.max(1) as f64
}

/// `[######----]`, filled to `share` of 1.
pub(super) fn bar(share: f64) -> String {
    const CELLS: usize = 24;
    let filled = ((share * CELLS as f64).round() as usize).min(CELLS);
    format!("[{}{}]", "#".repeat(filled), "-".repeat(CELLS - filled))
}

/// A table that fits the terminal; columns named with a leading `>` are aligned to the right.
pub(super) fn table<R: IntoIterator<Item = String>>(columns: &[&str], rows: impl IntoIterator<Item = R>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(columns.iter().map(|column| column.trim_start_matches('>')));
    rows.into_iter().for_each(|row| {
        table.add_row(row);
    });
    for (column, name) in table.column_iter_mut().zip(columns) {
        if name.starts_with('>') {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}
