//! Rotary position embedding: what keys were turned by, and turning them back.
//!
//! Half-split pairs: channel `i` of a head and channel `head_dim / 2 + i` are the plane in which a key turns by its
//! position times the pair's frequency. Source: Su et al., "RoFormer" (arXiv:2104.09864), as Hugging Face lays it out.

use std::cell::RefCell;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Rotary position embedding of a model.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Rope {
    /// Base of the frequencies.
    pub theta: f64,
    /// How the frequencies are changed for long contexts.
    #[serde(default)]
    pub scaling: RopeScaling,
}

/// How frequencies are changed for long contexts.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum RopeScaling {
    /// Not at all.
    #[default]
    None,
    /// Llama 3.1: low frequencies divided by `factor`, high ones kept, those between blended.
    Llama3 {
        /// Divisor of low frequencies.
        factor: f64,
        /// Wavelengths above `original_context / low_freq_factor` are low frequencies.
        low_freq_factor: f64,
        /// Wavelengths below `original_context / high_freq_factor` are high frequencies.
        high_freq_factor: f64,
        /// Context that the model was trained on before.
        original_context: f64,
    },
}

impl Rope {
    /// Plain RoPE with this base.
    pub const fn plain(theta: f64) -> Self {
        Self { theta, scaling: RopeScaling::None }
    }

    /// Radians per position of each pair of channels: `head_dim / 2` of them.
    ///
    /// Rounded to f32 where the transformers library rounds, so that far positions turn by the same angles.
    pub fn frequencies(&self, head_dim: usize) -> Vec<f32> {
        let plain = |pair: usize| 1.0 / self.theta.powf((2 * pair) as f64 / head_dim as f64);
        (0..head_dim / 2).map(|pair| self.scaling.apply(f64::from(plain(pair) as f32)) as f32).collect()
    }

    /// Checks that all frequencies are of 0 to 1 radian per position, at any head dimension.
    ///
    /// # Errors
    /// `Invalid` when theta or the factor of llama3 is not a finite number of at least 1, another parameter not a finite
    /// one above 0, or the frequency factors are not in order.
    pub fn check(&self) -> Result<()> {
        let at_least_one = |number: f64| number.is_finite() && number >= 1.0;
        let above_zero = |number: f64| number.is_finite() && number > 0.0;
        let sound = at_least_one(self.theta)
            && match self.scaling {
                RopeScaling::None => true,
                RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } => {
                    at_least_one(factor)
                        && [low_freq_factor, high_freq_factor, original_context].into_iter().all(above_zero)
                        && high_freq_factor > low_freq_factor
                }
            };
        let want = "theta and factor of at least 1, the others above 0, frequency factors in order";
        if sound { Ok(()) } else { Err(Error::Invalid(format!("{self:?} where RoPE has {want}"))) }
    }
}

impl RopeScaling {
    /// Source: `_compute_llama3_parameters` of the transformers library.
    fn apply(&self, frequency: f64) -> f64 {
        let Self::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } = *self else {
            return frequency;
        };
        let turns = original_context * frequency / std::f64::consts::TAU;
        let smooth = ((turns - low_freq_factor) / (high_freq_factor - low_freq_factor)).clamp(0.0, 1.0);
        (1.0 - smooth) * frequency / factor + smooth * frequency
    }
}

/// RoPE, and where a chunk lies in its context.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Position {
    pub(crate) rope: Rope,
    pub(crate) first_position: u64,
}

/// Cosines and sines of the angles by which the keys of a chunk are turned: `[token][pair]` both.
#[derive(Debug)]
pub(crate) struct Turns {
    num_pairs: usize,
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl Turns {
    /// The turns of a chunk. Equal arguments in a row, as those of a chunk's layers are, share one table.
    pub(crate) fn of_chunk(position: Position, head_dim: usize, num_tokens: usize) -> Arc<Self> {
        type Key = (Position, usize, usize);
        thread_local! {
            static LAST: RefCell<Option<(Key, Arc<Turns>)>> = const { RefCell::new(None) };
        }
        let key = (position, head_dim, num_tokens);
        LAST.with_borrow_mut(|last| match last {
            Some((last_key, turns)) if *last_key == key => Arc::clone(turns),
            _ => {
                let turns = Arc::new(Self::new(position, head_dim, num_tokens));
                *last = Some((key, Arc::clone(&turns)));
                turns
            }
        })
    }

    /// Angles are sums: that of the first token, and that of the distance from it.
    fn new(position: Position, head_dim: usize, num_tokens: usize) -> Self {
        let frequencies: Vec<f64> = position.rope.frequencies(head_dim).into_iter().map(f64::from).collect();
        let first: Vec<(f64, f64)> =
            frequencies.iter().map(|frequency| (position.first_position as f64 * frequency).sin_cos()).collect();
        let steps: Vec<(f64, f64)> = frequencies.iter().map(|frequency| frequency.sin_cos()).collect();
        let mut turns = Self { num_pairs: head_dim / 2, cos: Vec::new(), sin: Vec::new() };
        let mut angles = first;
        for token in 0..num_tokens {
            // Products drift by a rounding each; a fresh start every 64 keeps them below the precision of f32.
            if token % 64 == 0 {
                let exact = |frequency: &f64| {
                    (position.first_position.saturating_add(token as u64) as f64 * frequency).sin_cos()
                };
                angles = frequencies.iter().map(exact).collect();
            }
            turns.cos.extend(angles.iter().map(|(_, cos)| *cos as f32));
            turns.sin.extend(angles.iter().map(|(sin, _)| *sin as f32));
            for ((sin, cos), (step_sin, step_cos)) in angles.iter_mut().zip(&steps) {
                (*sin, *cos) = (*sin * step_cos + *cos * step_sin, *cos * step_cos - *sin * step_sin);
            }
        }
        turns
    }

    /// Cosines and sines of a token.
    pub(crate) fn token(&self, token: usize) -> [&[f32]; 2] {
        let range = token * self.num_pairs..(token + 1) * self.num_pairs;
        [&self.cos[range.clone()], &self.sin[range]]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_those_of_the_positions() {
        let rope = Rope::plain(10_000.0);
        let turns = Turns::of_chunk(Position { rope, first_position: 100_000 }, 64, 200);
        let frequencies = rope.frequencies(64);
        for token in [0, 63, 64, 199] {
            let [cos, sin] = turns.token(token);
            for pair in 0..32 {
                let angle = (100_000 + token) as f64 * f64::from(frequencies[pair]);
                assert!((f64::from(cos[pair]) - angle.cos()).abs() < 1e-7);
                assert!((f64::from(sin[pair]) - angle.sin()).abs() < 1e-7);
            }
        }
    }

    #[test]
    fn llama3_divides_low_frequencies_and_keeps_high_ones() {
        let scaling =
            RopeScaling::Llama3 { factor: 8.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_context: 8192.0 };
        let [plain, scaled] = [RopeScaling::None, scaling].map(|scaling| Rope { theta: 5e5, scaling }.frequencies(128));
        assert_eq!(plain[0], scaled[0]);
        assert!((plain[63] / scaled[63] - 8.0).abs() < 1e-5);
    }

    const LEAST: f64 = f64::from_bits(1);

    #[test]
    fn frequencies_and_turns_of_what_is_accepted_are_numbers() {
        let scalings = [1.0, 8.0, f64::MAX].into_iter().flat_map(|factor| {
            let ends = [(LEAST, 2.0 * LEAST), (LEAST, f64::MAX), (1.0, 1.0 + f64::EPSILON), (1.0, 4.0)];
            ends.into_iter().flat_map(move |(low_freq_factor, high_freq_factor)| {
                [LEAST, 8192.0, f64::MAX].map(|original_context| RopeScaling::Llama3 {
                    factor,
                    low_freq_factor,
                    high_freq_factor,
                    original_context,
                })
            })
        });
        let scalings: Vec<RopeScaling> = scalings.chain([RopeScaling::None]).collect();
        for (theta, head_dim) in
            [1.0, 1.5, 1e4, 1e8, f64::MAX].into_iter().flat_map(|theta| [(theta, 2), (theta, 1024)])
        {
            for &scaling in &scalings {
                let rope = Rope { theta, scaling };
                assert_eq!(rope.check(), Ok(()));
                let frequencies = rope.frequencies(head_dim);
                assert!(
                    frequencies.iter().all(|frequency| (0.0..=1.0).contains(frequency)),
                    "{rope:?}: {frequencies:?}"
                );
                let turns = Turns::new(Position { rope, first_position: u64::MAX }, head_dim, 70);
                let mut parts = turns.cos.iter().chain(&turns.sin);
                assert!(parts.all(|part| part.abs() <= 1.0), "{rope:?}");
            }
        }
    }

    #[test]
    fn what_may_have_frequencies_above_one_or_none_is_refused() {
        let llama3 = |factor, low_freq_factor, high_freq_factor, original_context| Rope {
            theta: 5e5,
            scaling: RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context },
        };
        assert!(Rope::plain(1e-300).frequencies(128)[127 / 2].is_infinite());
        assert!(llama3(1e-300, 1.0, 4.0, 8192.0).frequencies(128)[63].is_infinite());
        let no_theta = [1e-300, 0.999, 0.0, -1.0, f64::INFINITY, f64::NAN].map(Rope::plain);
        let no_scaling = [
            llama3(1e-300, 1.0, 4.0, 8192.0),
            llama3(0.5, 1.0, 4.0, 8192.0),
            llama3(f64::NAN, 1.0, 4.0, 8192.0),
            llama3(8.0, 0.0, 4.0, 8192.0),
            llama3(8.0, 4.0, 4.0, 8192.0),
            llama3(8.0, 1.0, f64::INFINITY, 8192.0),
            llama3(8.0, 1.0, 4.0, -8192.0),
        ];
        for rope in no_theta.into_iter().chain(no_scaling) {
            assert_eq!(rope.check().unwrap_err().kind(), crate::ErrorKind::Invalid, "{rope:?}");
        }
    }
}
