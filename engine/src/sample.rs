//! Choice of the next token from logits.
//!
//! A draw depends on the request's seed and on how many tokens it has drawn before, and on nothing else: the same
//! request gives the same tokens in any batch.

use crate::{Error, Result};

/// How a request's tokens are chosen. The default is greedy.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// Divides the logits; 0 always takes the largest.
    pub temperature: f32,
    /// Only the so many largest logits are drawn from; 0 for all.
    pub top_k: usize,
    /// Only the largest probabilities that together reach this are drawn from; 1 for all.
    pub top_p: f32,
    /// Only tokens at least so many times as probable as the most probable one are drawn from; 0 for all.
    pub min_p: f32,
    /// Seed of the draws.
    pub seed: u64,
}

/// A chosen token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Choice {
    /// The token.
    pub token: u32,
    /// Natural logarithm of its probability under the raw logits: before temperature, top-k and top-p.
    pub logprob: f32,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { temperature: 0.0, top_k: 0, top_p: 1.0, min_p: 0.0, seed: 0 }
    }
}

impl Sampling {
    /// Refuses settings that mean nothing.
    ///
    /// # Errors
    /// `Invalid` for a temperature that is negative or not finite, a `top_p` outside `(0, 1]`, or a `min_p` outside `[0, 1]`.
    pub fn check(&self) -> Result<()> {
        if !(self.temperature.is_finite() && self.temperature >= 0.0) {
            return Err(Error::Invalid(format!("temperature {} is not a number from 0 up", self.temperature)));
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return Err(Error::Invalid(format!("top-p {} is outside (0, 1]", self.top_p)));
        }
        if !(0.0..=1.0).contains(&self.min_p) {
            return Err(Error::Invalid(format!("min-p {} is outside [0, 1]", self.min_p)));
        }
        Ok(())
    }

    /// Chooses the token after `drawn` others; of equal logits the lowest token is the larger.
    ///
    /// # Errors
    /// `Corrupt` when a logit is not a number: weights or imported KV hold NaN or infinity.
    pub fn choose(&self, logits: &[f32], drawn: usize) -> Result<Choice> {
        check_logits(logits)?;
        let token = if self.temperature == 0.0 { largest(logits) } else { self.draw(logits, drawn) };
        Ok(Choice { token: token as u32, logprob: logprob(logits, token) })
    }

    fn draw(&self, logits: &[f32], drawn: usize) -> usize {
        let mut order: Vec<usize> = (0..logits.len()).collect();
        order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]).then(a.cmp(&b)));
        if self.top_k > 0 {
            order.truncate(self.top_k);
        }
        let max = f64::from(logits[order[0]]);
        let weight = |token: usize| ((f64::from(logits[token]) - max) / f64::from(self.temperature)).exp();
        order.retain(|&token| weight(token) >= f64::from(self.min_p));
        let total: f64 = order.iter().map(|&token| weight(token)).sum();
        order.truncate(leading(order.iter().map(|&token| weight(token) / total), f64::from(self.top_p)));
        let kept: f64 = order.iter().map(|&token| weight(token)).sum();
        let target = uniform(self.seed, drawn as u64) * kept;
        order[leading(order.iter().map(|&token| weight(token)), target) - 1]
    }
}

/// Refuses logits that are no numbers.
///
/// # Errors
/// `Corrupt` when one is NaN or infinite: weights or imported KV are.
pub(crate) fn check_logits(logits: &[f32]) -> Result<()> {
    match logits.iter().position(|logit| !logit.is_finite()) {
        Some(token) => Err(Error::Corrupt(format!(
            "the logit of token {token} is {}: the weights or the imported KV are not sound",
            logits[token]
        ))),
        None => Ok(()),
    }
}

/// How many leading terms it takes for their sum to reach `target`: at least one, at most all.
fn leading(terms: impl ExactSizeIterator<Item = f64>, target: f64) -> usize {
    let num_terms = terms.len();
    let mut sum = 0.0;
    let reached = terms.into_iter().position(|term| {
        sum += term;
        sum >= target
    });
    reached.map_or(num_terms, |idx| idx + 1)
}

fn largest(logits: &[f32]) -> usize {
    let mut best = 0;
    for (token, logit) in logits.iter().enumerate() {
        if *logit > logits[best] {
            best = token;
        }
    }
    best
}

fn logprob(logits: &[f32], token: usize) -> f32 {
    (f64::from(logits[token]) - log_total(logits)) as f32
}

/// Natural logarithm of the sum of all exponentials.
fn log_total(logits: &[f32]) -> f64 {
    let max = f64::from(logits[largest(logits)]);
    let sum: f64 = logits.iter().map(|&logit| (f64::from(logit) - max).exp()).sum();
    max + sum.ln()
}

/// The `count` most probable tokens, the most probable first; of equal ones the lowest.
pub(crate) fn most_probable(logits: &[f32], count: usize) -> Vec<Choice> {
    let mut order: Vec<usize> = (0..logits.len()).collect();
    let descending = |&a: &usize, &b: &usize| logits[b].total_cmp(&logits[a]).then(a.cmp(&b));
    if count < order.len() {
        order.select_nth_unstable_by(count, descending);
        order.truncate(count);
    }
    order.sort_unstable_by(descending);
    let total = log_total(logits);
    let choice = |token: usize| Choice { token: token as u32, logprob: (f64::from(logits[token]) - total) as f32 };
    order.into_iter().map(choice).collect()
}

/// A number in `[0, 1)` from a seed and a counter: two rounds of SplitMix64.
///
/// Source: Steele, Lea and Flood, Fast Splittable Pseudorandom Number Generators (OOPSLA 2014).
fn uniform(seed: u64, counter: u64) -> f64 {
    let bits = mix(mix(seed).wrapping_add(counter));
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

fn mix(state: u64) -> u64 {
    let z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGITS: [f32; 5] = [0.0, 2.0, 1.0, 2.0, -3.0];

    fn sampling(temperature: f32, top_k: usize, top_p: f32) -> Sampling {
        Sampling { temperature, top_k, top_p, seed: 7, ..Sampling::default() }
    }

    fn shares(sampling: Sampling, draws: usize) -> Vec<f64> {
        let mut counts = vec![0.0; LOGITS.len()];
        for drawn in 0..draws {
            counts[sampling.choose(&LOGITS, drawn).unwrap().token as usize] += 1.0 / draws as f64;
        }
        counts
    }

    fn softmax(temperature: f64) -> Vec<f64> {
        let weights: Vec<f64> = LOGITS.iter().map(|&l| (f64::from(l) / temperature).exp()).collect();
        weights.iter().map(|w| w / weights.iter().sum::<f64>()).collect()
    }

    #[test]
    fn greedy_takes_the_first_of_the_largest() {
        let choice = Sampling::default().choose(&LOGITS, 3).unwrap();
        assert_eq!(choice.token, 1);
        assert!((f64::from(choice.logprob) - softmax(1.0)[1].ln()).abs() < 1e-6);
    }

    #[test]
    fn draws_follow_the_softmax_at_the_temperature() {
        for temperature in [0.5, 1.0, 2.0] {
            let found = shares(sampling(temperature, 0, 1.0), 20_000);
            for (found, expected) in found.iter().zip(softmax(f64::from(temperature))) {
                assert!((found - expected).abs() < 0.015, "{found} {expected}");
            }
        }
    }

    #[test]
    fn top_k_top_p_and_min_p_keep_only_the_largest() {
        let kept = |sampling| shares(sampling, 2000).iter().map(|&share| share > 0.0).collect::<Vec<_>>();
        assert_eq!(kept(sampling(1.0, 1, 1.0)), [false, true, false, false, false]);
        assert_eq!(kept(sampling(1.0, 2, 1.0)), [false, true, false, true, false]);
        assert_eq!(kept(sampling(1.0, 0, 0.5)), [false, true, false, true, false]);
        assert_eq!(kept(sampling(1.0, 0, 0.001)), [false, true, false, false, false]);
        assert_eq!(kept(Sampling { min_p: 0.3, ..sampling(1.0, 0, 1.0) }), [false, true, true, true, false]);
        assert_eq!(kept(Sampling { min_p: 1.0, ..sampling(1.0, 0, 1.0) }), [false, true, false, true, false]);
    }

    #[test]
    fn a_seed_and_a_count_decide_the_draw() {
        let choose = |seed, drawn| Sampling { seed, ..sampling(1.5, 0, 1.0) }.choose(&LOGITS, drawn).unwrap().token;
        let sequence = |seed| (0..64).map(|drawn| choose(seed, drawn)).collect::<Vec<_>>();
        assert_eq!(sequence(1), sequence(1));
        assert_ne!(sequence(1), sequence(2));
    }

    #[test]
    fn the_most_probable_come_in_order_with_their_logarithms() {
        let found = most_probable(&LOGITS, 3);
        assert_eq!(found.iter().map(|choice| choice.token).collect::<Vec<_>>(), [1, 3, 2]);
        let expected = softmax(1.0);
        assert!(found.iter().all(|c| (f64::from(c.logprob) - expected[c.token as usize].ln()).abs() < 1e-6));
        assert_eq!(most_probable(&LOGITS, 99).len(), LOGITS.len());
        assert_eq!(most_probable(&LOGITS, 0), []);
    }

    #[test]
    fn logits_that_are_no_numbers_are_refused() {
        let error = Sampling::default().choose(&[0.0, f32::NAN], 0).unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::Corrupt);
    }

    #[test]
    fn settings_that_mean_nothing_are_refused() {
        for bad in [
            sampling(-1.0, 0, 1.0),
            sampling(f32::NAN, 0, 1.0),
            sampling(1.0, 0, 0.0),
            sampling(1.0, 0, 1.5),
            Sampling { min_p: -0.1, ..Sampling::default() },
        ] {
            assert_eq!(bad.check().unwrap_err().kind(), crate::ErrorKind::Invalid);
        }
    }
}
