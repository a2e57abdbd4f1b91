//! Sixteen accumulators, and how a word of the left operand and a line of the right one are added to them.

use std::marker::PhantomData;

use super::line::{LANES, Line};

/// Sixteen f32 of one instruction set.
pub(super) trait Vector: Copy {
    /// Whether eight of them fit the registers beside operands, rather than four.
    const WIDE: bool;
    /// Whether products are fused with sums. `f32::mul_add` is a call into libm where there is no such instruction.
    const FMA: bool;

    /// Sixteen times `value`.
    fn splat(value: f32) -> Self;

    /// The words of a line as f32.
    fn load(line: &Line) -> Self;

    /// The low halves of a line's words, as bf16.
    fn load_low(line: &Line) -> Self;

    /// The high halves of a line's words, as bf16.
    fn load_high(line: &Line) -> Self;

    /// `self * b + c`, lane by lane.
    fn mul_add(self, b: Self, c: Self) -> Self;

    /// The lanes.
    fn to_array(self) -> [f32; LANES];
}

/// Arithmetic of one instruction set at one precision.
pub(super) trait Lanes {
    /// See [`Vector::WIDE`].
    const WIDE: bool;
    /// See [`Vector::FMA`].
    const FMA: bool;
    /// Sixteen sums.
    type Acc: Vector;

    /// Adds the product of word `x` with each word of `line`, element by element.
    fn madd(acc: &mut Self::Acc, x: u32, line: &Line);

    /// `a * b + c` of one lane, in loops that the compiler vectorizes.
    #[inline(always)]
    fn mul_add(a: f32, b: f32, c: f32) -> f32 {
        if Self::FMA { a.mul_add(b, c) } else { a * b + c }
    }
}

/// One f32 per word.
pub(super) struct F32<V>(PhantomData<V>);

/// Two bf16 per word, the low one added first.
pub(super) struct Bf16<V>(PhantomData<V>);

impl<V: Vector> Lanes for F32<V> {
    const WIDE: bool = V::WIDE;
    const FMA: bool = V::FMA;
    type Acc = V;

    #[inline(always)]
    fn madd(acc: &mut V, x: u32, line: &Line) {
        *acc = V::splat(f32::from_bits(x)).mul_add(V::load(line), *acc);
    }
}

impl<V: Vector> Lanes for Bf16<V> {
    const WIDE: bool = V::WIDE;
    const FMA: bool = V::FMA;
    type Acc = V;

    #[inline(always)]
    fn madd(acc: &mut V, x: u32, line: &Line) {
        *acc = V::splat(low(x)).mul_add(V::load_low(line), *acc);
        *acc = V::splat(high(x)).mul_add(V::load_high(line), *acc);
    }
}

/// The plain twin of every vector: sixteen floats in an array.
impl Vector for [f32; LANES] {
    const WIDE: bool = false;
    /// AArch64 fuses in its baseline.
    const FMA: bool = cfg!(target_arch = "aarch64");

    #[inline(always)]
    fn splat(value: f32) -> Self {
        [value; LANES]
    }

    #[inline(always)]
    fn load(line: &Line) -> Self {
        line.0.map(f32::from_bits)
    }

    #[inline(always)]
    fn load_low(line: &Line) -> Self {
        line.0.map(low)
    }

    #[inline(always)]
    fn load_high(line: &Line) -> Self {
        line.0.map(high)
    }

    #[inline(always)]
    fn mul_add(self, b: Self, mut c: Self) -> Self {
        for ((c, a), b) in c.iter_mut().zip(self).zip(b) {
            *c = if Self::FMA { a.mul_add(b, *c) } else { a * b + *c };
        }
        c
    }

    #[inline(always)]
    fn to_array(self) -> [f32; LANES] {
        self
    }
}

#[inline(always)]
fn low(word: u32) -> f32 {
    f32::from_bits(word << 16)
}

#[inline(always)]
fn high(word: u32) -> f32 {
    f32::from_bits(word & 0xffff_0000)
}
