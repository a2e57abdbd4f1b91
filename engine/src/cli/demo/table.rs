//! The demo's result, for people.

use std::fmt;

use comfy_table::{CellAlignment, Table, presets};
use indicatif::{HumanBytes, HumanCount};

use super::report::Report;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tokens = HumanCount(self.context_tokens as u64);
        writeln!(f, "A context of {tokens} tokens at level {}", self.level)?;
        writeln!(f, "{}", comparison(self))?;
        writeln!(f, "{}", survival(self))?;
        write!(f, "{}", agreement(self))
    }
}

/// Without the depot against with it.
fn comparison(report: &Report) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    table.set_header(["", "from scratch", "with the depot", ""]);
    table.add_row([
        "time to first token".to_owned(),
        format!("{:.0} ms", report.ttft_recompute_ms),
        format!("{:.0} ms", report.ttft_fetch_ms),
        format!("{:.1}x sooner", report.ttft_recompute_ms / report.ttft_fetch_ms),
    ]);
    table.add_row([
        "KV cache".to_owned(),
        HumanBytes(report.raw_kv_bytes).to_string(),
        HumanBytes(report.stored_bytes).to_string(),
        format!("{:.2}x smaller", report.raw_kv_bytes as f64 / report.stored_bytes as f64),
    ]);
    table.add_row([
        format!("decode, {} requests", report.requests),
        format!("{:.0} tokens/s", report.decode_tokens_per_sec_unshared),
        format!("{:.0} tokens/s", report.decode_tokens_per_sec_shared),
        format!("{:.1}x as fast", report.decode_tokens_per_sec_shared / report.decode_tokens_per_sec_unshared),
    ]);
    for column in 1..=2 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn survival(report: &Report) -> &'static str {
    match report.survived_kill {
        true => "The context survived kill -9 of the daemon whole.",
        false => "The context did NOT survive kill -9 of the daemon.",
    }
}

fn agreement(report: &Report) -> String {
    let (same, all) = (report.identical_requests, report.requests);
    match report.outputs_identical {
        true => format!("All {all} answers are the same from the depot and from scratch, token for token."),
        false => format!("{same} of {all} answers are the same from the depot and from scratch, token for token."),
    }
}
