//! The measurements, in turns.

use kvdepot_engine::{GroupReport, Machine, Prefix, Request, Runner, Sampling, Sharing};

use super::super::random;
use super::bounds::Workload;
use super::prefix;
use super::report::{DecodeReport, Measured};

/// Most tokens of prefill that are timed.
const PREFILL_TOKENS: usize = 512;

pub(super) fn run(runner: &Runner, workload: &Workload, prefill: bool, turns: u8) -> anyhow::Result<DecodeReport> {
    let mut measured = Measured::default();
    eprintln!("measuring the machine");
    let machine = Machine::measure(runner.model().precision());
    eprintln!("prefill and one request alone");
    measured.prefill_tokens_per_sec = prefill_rate(runner, workload.prefix.min(PREFILL_TOKENS))?;
    let prefix =
        if prefill { prefix::computed(runner, workload.prefix)? } else { prefix::drawn(runner, workload.prefix)? };
    let requests = requests(runner, workload);
    for turn in 1..=turns {
        eprintln!("turn {turn} of {turns}");
        let decode = |requests, sharing| runner.decode_group(&prefix, requests, sharing);
        keep_faster(&mut measured.single, decode(&requests[..1], Sharing::On)?);
        keep_faster(&mut measured.shared, decode(&requests, Sharing::On)?);
        keep_faster(&mut measured.unshared, decode(&requests, Sharing::Off)?);
    }
    Ok(DecodeReport::new(runner.model(), workload, prefill, &machine, &measured))
}

fn prefill_rate(runner: &Runner, num_tokens: usize) -> anyhow::Result<f64> {
    let tokens = random::tokens(1, num_tokens, runner.model().config().vocab_size);
    Ok(runner.prefill(&mut Prefix::default(), &tokens, |_| {})?.tokens_per_sec())
}

fn requests(runner: &Runner, workload: &Workload) -> Vec<Request> {
    let vocab_size = runner.model().config().vocab_size;
    let request = |seed| Request {
        suffix: random::tokens(seed, workload.suffix, vocab_size),
        max_tokens: workload.tokens,
        sampling: Sampling::default(),
        stop_tokens: vec![],
        top_logprobs: 0,
    };
    (2..).take(workload.requests).map(request).collect()
}

fn keep_faster(best: &mut Option<GroupReport>, report: GroupReport) {
    let is_slower = |best: &GroupReport| best.decode.tokens_per_sec() >= report.decode.tokens_per_sec();
    if !best.as_ref().is_some_and(is_slower) {
        *best = Some(report);
    }
}
