//! What prefilling takes on this machine.

use std::path::Path;
use std::time::Instant;

use kvdepot_engine::{Model, Prefix, Runner, Settings};
use kvdepot_proto::stream::EngineCosts;

/// Tokens of each piece that is timed, a step of the engine.
const PIECE_TOKENS: usize = 256;
/// Tokens before the later piece, which attends to them.
const BEFORE_TOKENS: usize = 1_024;

/// What a token takes, and what each token takes that it attends to: of the first tokens of a context, and of later ones.
pub(super) fn prefill_costs(dir: &Path) -> anyhow::Result<EngineCosts> {
    let runner = Runner::new(Model::load(dir, None)?, Settings::default());
    let mut prefix = Prefix::default();
    // What is computed first also pays for fresh memory.
    secs_up_to(&runner, &mut prefix, PIECE_TOKENS)?;
    runner.truncate(&mut prefix, 0)?;
    let first = secs_up_to(&runner, &mut prefix, PIECE_TOKENS)?;
    secs_up_to(&runner, &mut prefix, BEFORE_TOKENS)?;
    let later = secs_up_to(&runner, &mut prefix, BEFORE_TOKENS + PIECE_TOKENS)?;
    Ok(costs_of(first, later))
}

/// Solves for both costs; noise may make the later piece the faster one, and attention then costs nothing.
fn costs_of(first_secs: f64, later_secs: f64) -> EngineCosts {
    let piece = PIECE_TOKENS as f64;
    let secs_per_attended_token = ((later_secs - first_secs) / (piece * BEFORE_TOKENS as f64)).max(0.0);
    let attention_secs = secs_per_attended_token * piece * piece / 2.0;
    // At least half of the first piece is not attention, whatever the noise.
    let secs_per_token = (first_secs - attention_secs).max(first_secs / 2.0) / piece;
    EngineCosts { secs_per_token, secs_per_attended_token, decode_bytes_per_sec: f64::INFINITY }
}

fn secs_up_to(runner: &Runner, prefix: &mut Prefix, end: usize) -> anyhow::Result<f64> {
    // Any token will do: what it takes does not depend on it.
    let tokens = vec![1; end - prefix.tokens().len()];
    let started = Instant::now();
    runner.prefill(prefix, &tokens, |_| {})?;
    Ok(started.elapsed().as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_give_back_the_times_that_they_were_solved_from() {
        let costs = costs_of(0.5, 0.7);
        assert!((costs.compute_secs(0, PIECE_TOKENS as u64) - 0.5).abs() < 1e-9);
        assert!((costs.compute_secs(BEFORE_TOKENS as u64, PIECE_TOKENS as u64) - 0.7).abs() < 1e-9);
        assert_eq!(costs_of(0.5, 0.4).secs_per_attended_token, 0.0);
    }
}
