//! Sixteen accumulators, and how a word of the left operand and a line of the right one are added to them.

use super::line::{LANES, Line};

/// Arithmetic of one instruction set at one precision.
pub(super) trait Lanes {
    /// Whether eight accumulators of sixteen lanes fit the registers, rather than four.
    const WIDE: bool;
    /// Sixteen f32 sums.
    type Acc: Copy;

    /// Sums of zero.
    fn zero() -> Self::Acc;

    /// Adds the product of word `x` with each word of `line`, element by element.
    fn madd(acc: &mut Self::Acc, x: u32, line: &Line);

    /// The sums.
    fn sums(acc: Self::Acc) -> [f32; LANES];

    /// `a * b + c`, fused where the instruction set fuses.
    fn mul_add(a: f32, b: f32, c: f32) -> f32;
}

/// One f32 per word.
pub(super) struct F32<const FMA: bool, const WIDE: bool>;

/// Two bf16 per word.
pub(super) struct Bf16<const FMA: bool, const WIDE: bool>;

impl<const FMA: bool, const WIDE: bool> Lanes for F32<FMA, WIDE> {
    const WIDE: bool = WIDE;
    type Acc = [f32; LANES];

    #[inline(always)]
    fn zero() -> Self::Acc {
        [0.0; LANES]
    }

    #[inline(always)]
    fn madd(acc: &mut Self::Acc, x: u32, line: &Line) {
        let x = f32::from_bits(x);
        for (sum, &word) in acc.iter_mut().zip(&line.0) {
            *sum = Self::mul_add(x, f32::from_bits(word), *sum);
        }
    }

    #[inline(always)]
    fn sums(acc: Self::Acc) -> [f32; LANES] {
        acc
    }

    #[inline(always)]
    fn mul_add(a: f32, b: f32, c: f32) -> f32 {
        mul_add::<FMA>(a, b, c)
    }
}

impl<const FMA: bool, const WIDE: bool> Lanes for Bf16<FMA, WIDE> {
    const WIDE: bool = WIDE;
    type Acc = [f32; LANES];

    #[inline(always)]
    fn zero() -> Self::Acc {
        [0.0; LANES]
    }

    #[inline(always)]
    fn madd(acc: &mut Self::Acc, x: u32, line: &Line) {
        let (x_low, x_high) = (low(x), high(x));
        for (sum, &word) in acc.iter_mut().zip(&line.0) {
            *sum = Self::mul_add(x_high, high(word), Self::mul_add(x_low, low(word), *sum));
        }
    }

    #[inline(always)]
    fn sums(acc: Self::Acc) -> [f32; LANES] {
        acc
    }

    #[inline(always)]
    fn mul_add(a: f32, b: f32, c: f32) -> f32 {
        mul_add::<FMA>(a, b, c)
    }
}

/// `f32::mul_add` is a call into libm where the instruction set has no such instruction.
#[inline(always)]
pub(super) fn mul_add<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

#[inline(always)]
fn low(word: u32) -> f32 {
    f32::from_bits(word << 16)
}

#[inline(always)]
fn high(word: u32) -> f32 {
    f32::from_bits(word & 0xffff_0000)
}
