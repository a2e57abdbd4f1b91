//! Promise: the engine computes what Hugging Face transformers computes, for every architecture it names.
#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod common;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use common::{Reference, bundled, checkpoints, greedy, references, runner};
use kvdepot_engine::{Precision, Prefix, Runner, Sharing};

/// A step is a near-tie when the two best logits of the reference differ by less than this share of the logits' root
/// mean square. Rounding to bf16 may turn it; after it the texts are not comparable.
const NEAR_TIE: f32 = 0.02;

fn models() -> Vec<PathBuf> {
    checkpoints().into_iter().chain([bundled()]).collect()
}

fn norm(values: impl Iterator<Item = f32>) -> f32 {
    values.map(|value| value * value).sum::<f32>().sqrt()
}

fn relative_error(found: &[f32], expected: &[f32]) -> f32 {
    norm(found.iter().zip(expected).map(|(found, expected)| found - expected)) / norm(expected.iter().copied())
}

fn each_reference(precision: Precision, mut check: impl FnMut(&Path, &Runner, &Reference)) {
    for dir in models() {
        let runner = runner(&dir, precision);
        references(&dir).iter().for_each(|reference| check(&dir, &runner, reference));
    }
}

fn decode(runner: &Runner, reference: &Reference) -> Vec<u32> {
    let request = greedy(&reference.prompt, reference.greedy.len());
    let report = runner.decode_group(&Prefix::default(), &[request], Sharing::On).unwrap();
    report.completions.into_iter().next().unwrap().tokens
}

#[test]
fn all_four_architectures_have_references() {
    let architecture = |dir: &PathBuf| runner(dir, Precision::F32).model().config().architecture.name();
    let found: BTreeSet<&str> = models().iter().map(architecture).collect();
    let expected = ["LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM"];
    assert_eq!(found.into_iter().collect::<Vec<_>>(), expected);
}

#[test]
fn logits_in_f32_are_those_of_the_reference() {
    each_reference(Precision::F32, |dir, runner, reference| {
        let error = relative_error(&runner.last_logits(&reference.prompt).unwrap(), &reference.last_logits);
        println!("{}: {} tokens, relative error {error:.1e}", dir.display(), reference.prompt.len());
        assert!(error <= 1e-4, "{}: {error}", dir.display());
    });
}

#[test]
fn logits_in_bf16_are_near_those_of_the_reference() {
    each_reference(Precision::Bf16, |dir, runner, reference| {
        let error = relative_error(&runner.last_logits(&reference.prompt).unwrap(), &reference.last_logits);
        println!("{}: {} tokens, relative error {error:.1e}", dir.display(), reference.prompt.len());
        assert!(error <= 2e-2, "{}: {error}", dir.display());
    });
}

#[test]
fn greedy_tokens_in_f32_are_those_of_the_reference() {
    each_reference(Precision::F32, |dir, runner, reference| {
        assert_eq!(decode(runner, reference), reference.greedy, "{}", dir.display());
    });
}

#[test]
fn greedy_tokens_in_bf16_are_those_of_the_reference_up_to_the_first_near_tie() {
    for dir in models() {
        let (exact, rounded) = (runner(&dir, Precision::F32), runner(&dir, Precision::Bf16));
        for reference in references(&dir) {
            let found = decode(&rounded, &reference);
            let Some(step) = found.iter().zip(&reference.greedy).position(|(found, expected)| found != expected) else {
                continue;
            };
            let context = [&reference.prompt[..], &reference.greedy[..step]].concat();
            let logits = exact.last_logits(&context).unwrap();
            let gap = logits[reference.greedy[step] as usize] - logits[found[step] as usize];
            let rms = norm(logits.iter().copied()) / (logits.len() as f32).sqrt();
            println!("{}: step {step} turned, gap {gap} of {rms}", dir.display());
            assert!(gap <= NEAR_TIE * rms, "{}: step {step}: gap {gap} of {rms}", dir.display());
        }
    }
}
