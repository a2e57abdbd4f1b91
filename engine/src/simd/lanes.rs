//! Sixteen accumulators, and how the products of left words and right lines are added to them.

use std::marker::PhantomData;

use super::line::{LANES, Line};
use super::operand::Form;
use crate::Precision;

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
    /// How left operands lie.
    const FORM: Form;
    /// Multiplications and additions of one left row and one line.
    const OPERATIONS: u64;
    /// Sixteen sums.
    type Acc: Vector;
    /// Elements of a left row that meet one line.
    type Left: Copy;

    /// The words of a left row, by the lines that they meet.
    fn left(row: &[u32]) -> &[Self::Left];

    /// Adds the products of `M` left rows with `P` panels at one line, element by element.
    fn madd<const M: usize, const P: usize>(
        acc: &mut [[Self::Acc; P]; M],
        x: &[&[Self::Left]; M],
        panels: &[&[Line]; P],
        line: usize,
    );

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
    const FORM: Form = Form::Packed(Precision::F32);
    const OPERATIONS: u64 = 2 * LANES as u64;
    type Acc = V;
    type Left = u32;

    #[inline(always)]
    fn left(row: &[u32]) -> &[u32] {
        row
    }

    #[inline(always)]
    fn madd<const M: usize, const P: usize>(
        acc: &mut [[V; P]; M],
        x: &[&[u32]; M],
        panels: &[&[Line]; P],
        line: usize,
    ) {
        for (p, panel) in panels.iter().enumerate() {
            let right = V::load(&panel[line]);
            for (acc, x) in acc.iter_mut().zip(x) {
                acc[p] = V::splat(f32::from_bits(x[line])).mul_add(right, acc[p]);
            }
        }
    }
}

impl<V: Vector> Lanes for Bf16<V> {
    const WIDE: bool = V::WIDE;
    const FMA: bool = V::FMA;
    const FORM: Form = Form::Spread;
    const OPERATIONS: u64 = 4 * LANES as u64;
    type Acc = V;
    type Left = [u32; 2];

    #[inline(always)]
    fn left(row: &[u32]) -> &[[u32; 2]] {
        row.as_chunks().0
    }

    /// One half after the other: both at once would not fit the registers.
    #[inline(always)]
    fn madd<const M: usize, const P: usize>(
        acc: &mut [[V; P]; M],
        x: &[&[[u32; 2]]; M],
        panels: &[&[Line]; P],
        line: usize,
    ) {
        for (p, panel) in panels.iter().enumerate() {
            let right = V::load_low(&panel[line]);
            for (acc, x) in acc.iter_mut().zip(x) {
                acc[p] = V::splat(f32::from_bits(x[line][0])).mul_add(right, acc[p]);
            }
        }
        for (p, panel) in panels.iter().enumerate() {
            let right = V::load_high(&panel[line]);
            for (acc, x) in acc.iter_mut().zip(x) {
                acc[p] = V::splat(f32::from_bits(x[line][1])).mul_add(right, acc[p]);
            }
        }
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
