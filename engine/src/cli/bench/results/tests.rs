use super::*;
use crate::cli::bench::{markdown, plot};

fn way(way: &str, ttft_ms: f64) -> WayResult {
    let way = way.to_owned();
    WayResult { way, ttft_ms, payload_bytes: 1_000, computed_tokens: 0, qualities: Some(1.5), is_calculated: false }
}

fn result(trace: &str, controller_ms: f64, best_base_ms: f64) -> TraceResult {
    let ways = vec![
        way("text", 2_000.0),
        WayResult { is_calculated: true, ..way("int8", 9_000.0) },
        way("controller", controller_ms),
        way("controller base", 400.0),
        way("deadline 1000 ms", controller_ms),
    ];
    let context = ContextResult { tokens: 1_024, ways, best_ms: 500.0, best_base_ms };
    let engine = EngineResult { prefill_tokens_per_sec: 100.0, decode_bytes_per_sec: Some(5e9) };
    TraceResult { trace: trace.to_owned(), rtt_ms: 1.0, loss_percent: 0.0, engine, contexts: vec![context] }
}

#[test]
fn the_summary_counts_what_is_late_and_what_nobody_could_make() {
    let results = [result("uniform-01", 1_000.0, 390.0), result("constant-1", 1_500.0, 1_400.0)];
    let summary = markdown::summary(&results);
    assert!(summary.contains("at most 3.00 times the best, 1.03 at the base"), "{summary}");
    assert!(
        summary.contains("Later than 1000 ms over all traces: controller 1 of 2 (1 could not be made by anybody)"),
        "{summary}"
    );
    assert!(summary.contains("controller 1000 ms, 2.00 times sooner"), "{summary}");
}

#[test]
fn what_is_calculated_is_marked_and_every_trace_is_in_the_picture() -> anyhow::Result<()> {
    let results = [result("uniform-01", 1_000.0, 390.0), result("constant-1", 1_500.0, 1_400.0)];
    let page = markdown::page(&results);
    assert!(page.contains("| ~9000 |") && page.contains("| 2000 |"), "{page}");
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("plot.svg");
    plot::write(&path, &results)?;
    let svg = std::fs::read_to_string(path)?;
    assert!(["uniform-01", "constant-1", "controller base"].iter().all(|name| svg.contains(name)), "{svg}");
    Ok(())
}
