//! What the two levels differ in: steps, and which channels have values.

use super::spread::{Spread, key_exponents, root_mean_square};
use crate::Side;

/// How an encoder chooses. Readers do not depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::levels) enum Recipe {
    /// Q1: every value close to what it was.
    NearLossless,
    /// Q3: least bytes for the quality of what a model makes of it.
    Layered,
}

/// Q1's step of values, of the plane's spread. No value is farther off than its step: half of it by rounding, and as much
/// again where rounding to the dtype goes the other way.
const FINE_VALUE_STEP: f32 = 1.0 / 8.0;
/// Q1's step of keys: turning mixes the errors of two channels, so it is smaller by more than the square root of two.
const FINE_KEY_STEP: f32 = 1.0 / 12.0;
/// Q3's finest step of keys, of the geometric mean of all layers' spreads.
const KEY_STEP: f32 = 0.25;
/// Q3's finest step of values, of the plane's spread.
const VALUE_STEP: f32 = 0.55;
/// At Q3, values of less than this deviation, in steps of the base, are not in the base.
const LEAST_BASE_DEVIATION: f32 = 0.35;
/// At Q3, channels of less than this deviation, in the finest steps, are nowhere: their mean stands for them.
const LEAST_DEVIATION: f32 = 0.3;
/// At Q3, an error of as many steps of the base is that of a value that an escape cannot say, which was cut to the nearest:
/// rounding a value that it can say to bf16 makes one of 128 steps, and a mean for all tokens of a channel one of 22.
const LARGEST_ERROR: f64 = 256.0;

impl Recipe {
    /// The finest step of a plane, and the exponents of its channels.
    pub(super) fn steps(self, side: Side, key_spread: f32, spreads: &[Spread]) -> (f32, Vec<i8>) {
        let deviations: Vec<f32> = spreads.iter().flat_map(|spread| spread.deviations.iter().copied()).collect();
        let spread = root_mean_square(deviations.iter());
        let uniform = vec![0; deviations.len()];
        match (self, side) {
            (Self::NearLossless, Side::K) => (FINE_KEY_STEP * spread, uniform),
            (Self::NearLossless, Side::V) => (FINE_VALUE_STEP * spread, uniform),
            (Self::Layered, Side::K) => (KEY_STEP * key_spread, key_exponents(&deviations)),
            (Self::Layered, Side::V) => (VALUE_STEP * spread, uniform),
        }
    }

    /// The quality layer that has a channel's values first; none if its mean stands for them.
    ///
    /// `deviation`: in steps of the base.
    pub(super) fn enters(self, deviation: f32, mean: f32, qualities: usize) -> Option<usize> {
        let finest = (1u32 << (qualities - 1)) as f32;
        match self {
            Self::NearLossless if deviation == 0.0 && mean == 0.0 => None,
            Self::NearLossless => Some(0),
            Self::Layered if deviation * finest < LEAST_DEVIATION => None,
            // Three layers are those of keys, which all enter at once.
            Self::Layered if qualities > 2 || deviation >= LEAST_BASE_DEVIATION => Some(0),
            Self::Layered => Some(1),
        }
    }

    /// The error below which those of a plane of this step have to be, for values to stand for its elements.
    pub(super) fn error_limit(self, side: Side, step: f32) -> f64 {
        match self {
            // Less by more than the rounding of errors to f32.
            Self::NearLossless => largest_error(side, step) * (1.0 - 1.0 / 1_048_576.0),
            Self::Layered => LARGEST_ERROR * f64::from(step),
        }
    }
}

/// The largest error that a plane of Q1 of this step can have.
pub(super) fn largest_error(side: Side, step: f32) -> f64 {
    f64::from(step) * if side == Side::K { std::f64::consts::SQRT_2 } else { 1.0 }
}
