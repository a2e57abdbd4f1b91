//! Results as a page.

use std::fmt::Write as _;

use super::fetch::GOALS;
use super::results::{ContextResult, EngineResult, TraceResult};

const WAYS: [&str; 8] = ["text", "raw", "int8", "q2", "q3", "q3 base", "controller", "controller base"];
/// Traces whose rate is drawn anew all the time.
const DRAWN: &str = "uniform";

/// The page that is published.
pub(super) fn page(results: &[TraceResult]) -> String {
    let engine = results.first().map(|result| legend(&result.engine)).unwrap_or_default();
    let mut page = String::from(
        "# Streaming over real links\n\nMade by `scripts/bench-stream --write`; what it means: `docs/decisions/0008-streaming.md`.\n\n",
    );
    let _ = writeln!(page, "{engine}\n\n![Time to first token over each link](streaming.svg)\n");
    page + &table(results) + &deadlines(results) + &summary(results)
}

/// What the numbers are of.
pub(super) fn legend(engine: &EngineResult) -> String {
    let decode = match engine.decode_bytes_per_sec {
        Some(rate) => format!("decodes {:.1} GB/s of KV (simulated too)", rate / 1e9),
        None => "decodes on this machine".to_owned(),
    };
    format!(
        "Milliseconds from the request until the engine had the KV of the whole context. Transfers are real: `kvdepotd` and the \
client library, QUIC over veth between two network namespaces, shaped by `tc tbf`; the control plane is a Unix socket. KV has the shape of \
Llama 3.1 8B and is synthetic; raw (bf16) and int8 are random bits of that size through the same path. The engine is simulated: it prefills {:.0} \
tokens/s, attention on top, and {decode}. `~`: calculated, since the transfer takes longer than 6 s. `best` is the best with hindsight over the measured link: text, a load, or \
both at once, meeting where that is soonest.",
        engine.prefill_tokens_per_sec
    )
}

/// A row for each trace and context.
pub(super) fn table(results: &[TraceResult]) -> String {
    let mut table = format!("| trace | tokens | {} | best | best base | over best, all and base |\n", WAYS.join(" | "));
    let _ = writeln!(table, "|---|{}", "---|".repeat(WAYS.len() + 4));
    for (result, context) in rows(results) {
        let ways: String = WAYS.iter().map(|way| format!(" {} |", cell(context, way))).collect();
        let over = context.over_best().map_or("-".to_owned(), |[all, base]| format!("{all:.2}, {base:.2}"));
        let (best, best_base) = (context.best_ms, context.best_base_ms);
        let _ =
            writeln!(table, "| {} | {} |{ways} {best:.0} | {best_base:.0} | {over} |", result.trace, context.tokens);
    }
    table + "\n"
}

/// What was made of each deadline.
fn deadlines(results: &[TraceResult]) -> String {
    let header: String = GOALS.iter().map(|goal| format!(" {} ms | layers | MB |", goal.as_millis())).collect();
    let mut table = format!(
        "With a deadline: when the context was complete, with how many quality layers on average, and bytes.\n\n| trace | tokens |{header}\n"
    );
    let _ = writeln!(table, "|---|---|{}", "---|".repeat(3 * GOALS.len()));
    for (result, context) in rows(results) {
        let cells: String = GOALS.iter().map(|goal| deadline_cells(context, goal.as_millis())).collect();
        let _ = writeln!(table, "| {} | {} |{cells}", result.trace, context.tokens);
    }
    table + "\n"
}

fn deadline_cells(context: &ContextResult, millis: u128) -> String {
    let Some(way) = context.way(&format!("deadline {millis} ms")) else { return " - | - | - |".to_owned() };
    let layers = way.qualities.map_or("computed".to_owned(), |qualities| format!("{qualities:.2}"));
    format!(" {:.0} | {layers} | {:.1} |", way.ttft_ms, way.payload_bytes as f64 / 1e6)
}

/// What all of it comes to.
pub(super) fn summary(results: &[TraceResult]) -> String {
    let over: Vec<[f64; 2]> = rows(results).filter_map(|(_, context)| context.over_best()).collect();
    let worst = |idx: usize| over.iter().map(|over| over[idx]).fold(0.0, f64::max);
    let mut text = format!("The controller is at most {:.2} times the best, {:.2} at the base.\n", worst(0), worst(1));
    let drawn = |result: &&TraceResult| result.trace.starts_with(DRAWN);
    let drawn: Vec<TraceResult> = results.iter().filter(drawn).cloned().collect();
    for (name, results) in [("all traces", results), ("traces of rates drawn anew", &drawn)] {
        let _ = write!(text, "{}", violations(name, results));
    }
    let mean = |way: &str| mean_ms(&drawn, way);
    if let (Some(text_ms), Some(int8), Some(ours), Some(base)) =
        (mean("text"), mean("int8"), mean("controller"), mean("controller base"))
    {
        let yardstick = text_ms.min(int8);
        let _ = writeln!(
            text,
            "Over traces of rates drawn anew, on average: text {text_ms:.0} ms, int8 {int8:.0} ms; controller {ours:.0} ms, {:.2} times sooner than the better of those; at the base {base:.0} ms, {:.2} times.",
            yardstick / ours,
            yardstick / base
        );
    }
    text
}

/// How many runs are later than each goal. A hundredth of a goal is what looking at the clock may take.
fn violations(name: &str, results: &[TraceResult]) -> String {
    let mut text = String::new();
    for goal in GOALS.map(|goal| goal.as_millis()) {
        let late = |way: &str| {
            rows(results)
                .filter_map(|(_, context)| context.way(way))
                .filter(|way| way.ttft_ms > 1.01 * goal as f64)
                .count()
        };
        let possible = rows(results).filter(|(_, context)| context.best_base_ms <= goal as f64).count();
        let runs = rows(results).count();
        let controller = late(&format!("deadline {goal} ms"));
        let others: Vec<String> = ["text", "int8", "q2"].iter().map(|way| format!("{way} {}", late(way))).collect();
        let _ = writeln!(
            text,
            "Later than {goal} ms over {name}: controller {controller} of {runs} ({} could not be made by anybody); {}.",
            runs - possible,
            others.join(", ")
        );
    }
    text
}

fn mean_ms(results: &[TraceResult], way: &str) -> Option<f64> {
    let times: Vec<f64> = rows(results).filter_map(|(_, context)| context.way(way)).map(|way| way.ttft_ms).collect();
    (!times.is_empty()).then(|| times.iter().sum::<f64>() / times.len() as f64)
}

fn rows(results: &[TraceResult]) -> impl Iterator<Item = (&TraceResult, &ContextResult)> {
    results.iter().flat_map(|result| result.contexts.iter().map(move |context| (result, context)))
}

fn cell(context: &ContextResult, way: &str) -> String {
    context.way(way).map_or("-".to_owned(), |found| {
        let mark = if found.is_calculated && way != "text" { "~" } else { "" };
        format!("{mark}{:.0}", found.ttft_ms)
    })
}
