//! Functions of one lane, free of calls so that loops over them vectorize.

use std::f32::consts::{LN_2, LOG2_E};

use super::lanes::Lanes;
use super::line::LANES;

/// Adding this to a float below 2^22 in magnitude leaves its nearest integer in the low bits.
const ROUNDER: f32 = 12_582_912.0;

/// Taylor coefficients of 2^f, `ln(2)^n / n!`: within 1e-8 of it for `|f| <= 1/2`.
const EXP2: [f32; 8] =
    [1.0, LN_2, 0.240_226_5, 0.055_504_11, 0.009_618_129, 0.001_333_355_8, 1.540_353e-4, 1.525_273_4e-5];

/// `2^x`, exactly 1 at 0; `x` is held to `-126..=127`.
#[inline(always)]
pub(super) fn exp2<L: Lanes>(x: f32) -> f32 {
    let x = if x > -126.0 { x } else { -126.0 };
    let x = if x < 127.0 { x } else { 127.0 };
    let shifted = x + ROUNDER;
    let fraction = x - (shifted - ROUNDER);
    let mut power = EXP2[7];
    for &coefficient in EXP2[..7].iter().rev() {
        power = L::mul_add(power, fraction, coefficient);
    }
    let exponent = shifted.to_bits().wrapping_sub(ROUNDER.to_bits()).wrapping_add(127);
    power * f32::from_bits(exponent << 23)
}

/// `x * sigmoid(x)`.
#[inline(always)]
pub(super) fn silu<L: Lanes>(x: f32) -> f32 {
    x / (1.0 + exp2::<L>(-x * LOG2_E))
}

/// Combines sixteen lanes pairwise, always in the same order.
#[inline(always)]
pub(super) fn reduce(mut lanes: [f32; LANES], combine: impl Fn(f32, f32) -> f32) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        let (low, high) = lanes.split_at_mut(half);
        for (low, high) in low.iter_mut().zip(high) {
            *low = combine(*low, *high);
        }
        half /= 2;
    }
    lanes[0]
}
