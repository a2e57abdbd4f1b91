//! Promise: `eval` finds nothing lost at a lossless level, something at a lossy one, and says what it takes to measure.
#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod common;

use common::{assert_refused, bundled, json, path};
use serde_json::Value;

const TINY: [&str; 9] =
    ["--context-tokens", "150", "--continue-tokens", "40", "--windows", "2", "--chunk-tokens", "64", "--json"];

/// The arguments of a tiny evaluation on the demo's document.
fn arguments(more: &[&str]) -> Vec<String> {
    let (model, text) = (path(&bundled()), path(&bundled().join("demo/document.txt")));
    let args = ["eval", "--model", &model, "--text", &text];
    args.iter().chain(&TINY).chain(more).map(|&arg| arg.to_owned()).collect()
}

fn evaluate(more: &[&str]) -> Value {
    let arguments = arguments(more);
    json(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
}

fn row<'a>(report: &'a Value, name: &str) -> &'a Value {
    report["rows"].as_array().unwrap().iter().find(|row| row["name"] == name).unwrap()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

#[test]
fn nothing_is_lost_at_q0_and_something_at_q2_for_fewer_bits() {
    let report = evaluate(&["--levels", "q2,q0"]);
    let (exact, q0, q2) = (&report["exact"], row(&report, "q0"), row(&report, "q2"));
    assert_eq!((number(&q0["kl"]), number(&q0["top1_agreement"])), (0.0, 1.0));
    assert_eq!(q0["perplexity"], exact["perplexity"]);
    assert_eq!(q0["retrieval_accuracy"], exact["retrieval_accuracy"]);
    assert!(number(&q2["kl"]) > 0.0 && number(&q2["top1_agreement"]) < 1.0, "{q2}");
    assert!(number(&q2["bits_per_value"]) < number(&q0["bits_per_value"]), "{report}");
    assert!(number(&q0["bits_per_value"]) < 16.0, "{q0}");
    for row in [q0, q2] {
        let values = number(&exact["raw_kv_bytes"]) / 2.0;
        assert_eq!(number(&row["bits_per_value"]), number(&row["bytes"]) * 8.0 / values);
        assert_eq!(number(&row["ratio"]), 16.0 / number(&row["bits_per_value"]));
    }
}

#[test]
fn baselines_come_after_the_levels_and_lmcache_gives_what_q2_gives() {
    let report = evaluate(&["--levels", "q2", "--baselines"]);
    let (q2, lmcache) = (row(&report, "q2"), row(&report, "lmcache"));
    assert_eq!((&q2["kind"], &lmcache["kind"]), (&"level".into(), &"baseline".into()));
    assert_eq!(q2["kl"], lmcache["kl"]);
    assert!(number(&q2["bytes"]) < number(&lmcache["bytes"]), "{report}");
    assert!(number(&row(&report, "int8")["kl"]) > 0.0, "{report}");
    let (finer, coarser) = (row(&report, "kvtc-8x"), row(&report, "kvtc-16x"));
    assert!(number(&finer["bytes"]) > number(&coarser["bytes"]) && number(&finer["kl"]) > 0.0, "{report}");
    for row in report["rows"].as_array().unwrap() {
        assert!(number(&row["kl_standard_error"]) > 0.0, "{row}");
    }
    let calibration = &report["calibration"];
    assert_eq!((&calibration["between_windows"], &calibration["tokens"]), (&true.into(), &3000.into()));
}

#[test]
fn kvtc_may_be_calibrated_on_another_text() {
    let text = path(&bundled().join("MODEL_CARD.md"));
    let report = evaluate(&["--levels", "q2", "--baselines", "--calibrate-on", &text]);
    let calibration = &report["calibration"];
    assert_eq!((&calibration["between_windows"], &calibration["text"]), (&false.into(), &text.into()));
    assert!(number(&row(&report, "kvtc-16x")["kl"]) > 0.0, "{report}");
}

#[test]
fn the_report_says_what_was_measured_and_a_second_run_says_the_same() {
    let report = evaluate(&[]);
    for (field, expected) in
        [("windows", 2), ("context_tokens", 150), ("continue_tokens", 40), ("chunk_tokens", 64), ("scored_tokens", 80)]
    {
        assert_eq!(report[field], expected, "{field}");
    }
    assert_eq!(number(&report["exact"]["raw_kv_bytes"]), 2.0 * 150.0 * 3072.0);
    assert!(number(&report["asked_digits"]) >= 8.0);
    assert_eq!(report["calibration"], Value::Null);
    let levels: Vec<&Value> = report["rows"].as_array().unwrap().iter().map(|row| &row["family"]).collect();
    assert_eq!(levels.first(), Some(&&Value::from("q0")));
    assert_eq!(evaluate(&[]), report);
}

#[test]
fn the_plot_names_every_row_baselines_too_and_needs_no_fonts_here() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("quality.svg");
    let report = evaluate(&["--plot", &path(&file), "--baselines"]);
    let svg = std::fs::read_to_string(file).unwrap();
    assert!(svg.starts_with("<svg") && svg.contains("font-family=\"sans-serif\""), "{svg}");
    for row in report["rows"].as_array().unwrap() {
        assert!(svg.contains(row["name"].as_str().unwrap()), "{row}");
    }
}

#[test]
fn what_cannot_be_measured_is_refused_with_what_it_takes() {
    let dir = tempfile::tempdir().unwrap();
    let (model, long) = (path(&bundled()), path(&bundled().join("demo/document.txt")));
    let lines = dir.path().join("bad.jsonl");
    std::fs::write(&lines, "{\"text\": \"one\"}\n{}\n").unwrap();
    let lines = path(&lines);
    for (text, options, code, words) in [
        (&long, &["--windows", "9"][..], 2, "9 windows of 768 + 256 tokens need 9216, and it has 3619"),
        (&long, &["--windows", "0"], 2, "invalid value '0' for '--windows"),
        (&long, &["--chunk-tokens", "5000"], 2, "5000 is not in 1..=4096"),
        (&long, &["--levels", "q0,q9"], 2, "unknown level \"q9\""),
        (&long, &["--windows", "1", "--context-tokens", "20"], 2, "no room for a register"),
        (&long, &["--windows", "3", "--baselines"], 2, "contexts of 768: 0 tokens of"),
        (&long, &["--windows", "1", "--calibrate-on", "b.txt"], 2, "--baselines"),
        (&long, &["--windows", "1", "--baselines", "--calibrate-on", "no/such/text"], 3, "no/such/text"),
        (&lines, &[], 2, "bad.jsonl:2: no JSON object with `text`"),
        (&"no/such/text".to_owned(), &[], 3, "no/such/text"),
    ] {
        assert_refused(&[&["eval", "--model", &model, "--text", text], options].concat(), code, words);
    }
}
