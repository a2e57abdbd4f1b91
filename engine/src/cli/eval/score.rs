//! How near the model's expectations over a coded cache are to those over the exact one.

use std::ops::AddAssign;

use kvdepot_engine::Logits;

/// Sums over the tokens of continuations, each that of a window, of equal lengths.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct TextScore {
    pub(super) tokens: u64,
    /// Minus the logarithm of the probability of what came.
    nats: f64,
    /// KL divergence from the exact distribution, in nats.
    divergence: f64,
    windows: u64,
    /// Squares of each window's mean divergence.
    squared_divergence: f64,
    /// Tokens at which both hold the same one the most probable.
    agreed: u64,
}

/// Sums over the answers of retrieval tasks.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct RetrievalScore {
    pub(super) asked: u64,
    right: u64,
}

impl TextScore {
    /// Holds the expectations `coded` of `tokens` against `exact` ones.
    pub(super) fn new(exact: &Logits, coded: &Logits, tokens: &[u32]) -> Self {
        let mut score = Self { windows: 1, ..Self::default() };
        for (idx, &token) in tokens.iter().enumerate() {
            let (p, q) = (log_softmax(exact.row(idx)), log_softmax(coded.row(idx)));
            score.tokens += 1;
            score.nats -= q[token as usize];
            score.divergence += kl_divergence(&p, &q);
            score.agreed += u64::from(largest(exact.row(idx)) == largest(coded.row(idx)));
        }
        score.squared_divergence = score.kl().powi(2);
        score
    }

    pub(super) fn perplexity(&self) -> f64 {
        self.mean(self.nats).exp()
    }

    /// Mean KL divergence, in nats.
    pub(super) fn kl(&self) -> f64 {
        self.mean(self.divergence)
    }

    /// Standard error of [`Self::kl`], from how windows differ; none for fewer than two.
    pub(super) fn kl_standard_error(&self) -> Option<f64> {
        let windows = self.windows as f64;
        let variance = (self.squared_divergence / windows - self.kl().powi(2)).max(0.0);
        (self.windows > 1).then(|| (variance / (windows - 1.0)).sqrt())
    }

    /// Part of the tokens at which both hold the same one the most probable.
    pub(super) fn top1_agreement(&self) -> f64 {
        self.mean(self.agreed as f64)
    }

    fn mean(&self, sum: f64) -> f64 {
        sum / self.tokens.max(1) as f64
    }
}

impl RetrievalScore {
    /// Counts the `answers`, indices of `tokens`, that `coded` holds the most probable.
    pub(super) fn new(coded: &Logits, tokens: &[u32], answers: &[usize]) -> Self {
        let right = answers.iter().filter(|&&idx| largest(coded.row(idx)) == tokens[idx] as usize).count();
        Self { asked: answers.len() as u64, right: right as u64 }
    }

    /// Part of the answers that are right.
    pub(super) fn accuracy(&self) -> f64 {
        self.right as f64 / self.asked.max(1) as f64
    }
}

impl AddAssign for TextScore {
    fn add_assign(&mut self, other: Self) {
        self.tokens += other.tokens;
        self.nats += other.nats;
        self.divergence += other.divergence;
        self.windows += other.windows;
        self.squared_divergence += other.squared_divergence;
        self.agreed += other.agreed;
    }
}

impl AddAssign for RetrievalScore {
    fn add_assign(&mut self, other: Self) {
        self.asked += other.asked;
        self.right += other.right;
    }
}

/// Natural logarithms of the probabilities.
fn log_softmax(logits: &[f32]) -> Vec<f64> {
    let max = f64::from(logits[largest(logits)]);
    let sum: f64 = logits.iter().map(|&logit| (f64::from(logit) - max).exp()).sum();
    logits.iter().map(|&logit| f64::from(logit) - max - sum.ln()).collect()
}

/// Of log-probabilities, in nats. It is never negative, but for rounding, which is cut off.
fn kl_divergence(p: &[f64], q: &[f64]) -> f64 {
    let divergence: f64 = p.iter().zip(q).map(|(p, q)| p.exp() * (p - q)).sum();
    divergence.max(0.0)
}

/// Index of the largest logit; of equal ones the first.
fn largest(logits: &[f32]) -> usize {
    let better = |best: usize, idx: usize| if logits[idx] > logits[best] { idx } else { best };
    (0..logits.len()).reduce(better).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kl(p: &[f32], q: &[f32]) -> f64 {
        kl_divergence(&log_softmax(p), &log_softmax(q))
    }

    #[test]
    fn equal_distributions_diverge_by_exactly_nothing() {
        let logits: Vec<f32> = (0..2048).map(|idx| (idx as f32 * 0.37).sin() * 9.0).collect();
        assert_eq!(kl(&logits, &logits), 0.0);
        assert_eq!(kl(&[1.0, 2.0], &[31.0, 32.0]), 0.0);
    }

    #[test]
    fn a_small_example_has_its_divergence_by_hand() {
        let (p, q) = ([0.75_f32.ln(), 0.25_f32.ln()], [0.5_f32.ln(), 0.5_f32.ln()]);
        let expected = 0.75 * 1.5_f64.ln() + 0.25 * 0.5_f64.ln();
        assert!((kl(&p, &q) - expected).abs() < 1e-7, "{}", kl(&p, &q));
        let reversed = 0.5 * (0.5_f64 / 0.75).ln() + 0.5 * 2_f64.ln();
        assert!((kl(&q, &p) - reversed).abs() < 1e-7, "{}", kl(&q, &p));
    }

    #[test]
    fn huge_logits_do_not_overflow() {
        assert!((kl(&[1e30, 0.0], &[1e30, 0.0])).abs() < 1e-12);
        assert_eq!(log_softmax(&[-1e30, 0.0])[1], 0.0);
    }

    #[test]
    fn the_first_of_equal_logits_is_the_largest() {
        assert_eq!(largest(&[0.0, 3.0, 1.0, 3.0]), 1);
    }

    #[test]
    fn the_error_of_a_mean_comes_from_how_windows_differ() {
        let window = |kl: f64| TextScore {
            tokens: 4,
            divergence: 4.0 * kl,
            windows: 1,
            squared_divergence: kl * kl,
            ..TextScore::default()
        };
        let mut score = window(0.25);
        assert_eq!(score.kl_standard_error(), None);
        score += window(0.75);
        assert_eq!((score.kl(), score.kl_standard_error()), (0.5, Some(0.25)));
        score += TextScore::default();
        assert_eq!(score.kl_standard_error(), Some(0.25));
    }

    #[test]
    fn means_are_over_all_tokens() {
        let mut score = TextScore { tokens: 1, nats: 1.0, divergence: 0.5, agreed: 1, ..TextScore::default() };
        score += TextScore { tokens: 3, nats: 3.0, divergence: 0.1, agreed: 0, ..TextScore::default() };
        assert_eq!((score.perplexity(), score.kl(), score.top1_agreement()), (1_f64.exp(), 0.15, 0.25));
        let mut retrieval = RetrievalScore { asked: 4, right: 4 };
        retrieval += RetrievalScore { asked: 4, right: 1 };
        assert_eq!(retrieval.accuracy(), 0.625);
    }
}
