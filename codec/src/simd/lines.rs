//! Lines of a head as `f32`, token by token: from elements and back, turned, quantized, restored, measured.
//!
//! The loops are written once, plainly, and compiled for each instruction set. No operation is fused or put in another
//! order, so that results are equal to the bit.

use super::Isa;
use super::isa::Kind;
use super::quantize::{HeadErrors, PARTIAL_SUMS};
use crate::element::Element;
use crate::plane::PlaneShape;

/// Defines a function that runs the plain loop of the same name as it is, or compiled for AVX2 or AVX-512.
macro_rules! on_every_isa {
    ($(#[$doc:meta])* $name:ident, $wide:ident, $plain:ident, ($($argument:ident: $type:ty),*)) => {
        $(#[$doc])*
        pub(crate) fn $name(isa: Isa, $($argument: $type),*) {
            match isa.kind() {
                Kind::Scalar => $plain($($argument),*),
                #[cfg(target_arch = "x86_64")]
                // SAFETY: the `Isa` is the proof that the processor has AVX2.
                Kind::Avx2 => unsafe { $wide($($argument),*) },
                #[cfg(target_arch = "x86_64")]
                Kind::Avx512 => {
                    #[target_feature(enable = "avx512bw,avx512dq,avx512vl")]
                    fn wider($($argument: $type),*) {
                        $plain($($argument),*);
                    }
                    // SAFETY: the `Isa` is the proof that the processor has AVX-512.
                    unsafe { wider($($argument),*) }
                }
            }
        }

        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2")]
        fn $wide($($argument: $type),*) {
            $plain($($argument),*);
        }
    };
}

/// What the values of each channel stand for: value `v` and fraction `t` are `(256 v + t) * step + offset`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scales {
    pub(crate) steps: Vec<f32>,
    pub(crate) offsets: Vec<f32>,
}

/// How the elements of each channel are quantized.
#[derive(Debug, Clone, Default)]
pub(crate) struct Grid {
    /// The inverse of the finest step; 0 where nothing is coded.
    pub(crate) inverses: Vec<f32>,
    /// Added last: the centre, moved so that rounding to the nearest cuts where it should.
    pub(crate) offsets: Vec<f32>,
    /// Low bits of the index that are not of the value but of the fraction.
    pub(crate) fraction_bits: Vec<u32>,
}

/// Largest magnitude of an index: what escapes can say, at two bits of fraction.
const MAX_INDEX: f32 = 131_068.0;
/// Largest magnitude of a value that a row can say; no window reaches that far.
const MAX_VALUE: i32 = 127;
/// Added to an `f32` below 2^22 in magnitude, this leaves the nearest integer in the low bits, ties to even.
const ROUNDER: f32 = 12_582_912.0;

on_every_isa!(
    /// Turns a key forward: `[head_dim]`, with the cosines and sines of its position.
    rotate, rotate_wide, rotate_plain, (line: &mut [f32], cos: &[f32], sin: &[f32])
);

#[inline(always)]
fn rotate_plain(line: &mut [f32], cos: &[f32], sin: &[f32]) {
    let (first, second) = line.split_at_mut(cos.len());
    for (((a, b), cos), sin) in first.iter_mut().zip(second).zip(cos).zip(sin) {
        (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
    }
}

on_every_isa!(
    /// Turns a key back: the inverse of [`rotate`].
    rotate_back, rotate_back_wide, rotate_back_plain, (line: &mut [f32], cos: &[f32], sin: &[f32])
);

#[inline(always)]
fn rotate_back_plain(line: &mut [f32], cos: &[f32], sin: &[f32]) {
    let (first, second) = line.split_at_mut(cos.len());
    for (((a, b), cos), sin) in first.iter_mut().zip(second).zip(cos).zip(sin) {
        (*a, *b) = (*a * cos + *b * sin, *b * cos - *a * sin);
    }
}

on_every_isa!(
    /// The numbers that values and fractions of a line stand for.
    restore, restore_wide, restore_plain,
    (steps: &[f32], offsets: &[f32], values: &[u8], fractions: &[u8], line: &mut [f32])
);

#[inline(always)]
fn restore_plain(steps: &[f32], offsets: &[f32], values: &[u8], fractions: &[u8], line: &mut [f32]) {
    let scales = steps.iter().zip(offsets);
    for (((x, (step, offset)), value), fraction) in line.iter_mut().zip(scales).zip(values).zip(fractions) {
        let word = i32::from(value.cast_signed()) << 8 | i32::from(*fraction);
        *x = word as f32 * step + offset;
    }
}

on_every_isa!(
    /// Values and fractions of a line; values beyond what a row can say are the nearest that it can.
    quantize_line, quantize_line_wide, quantize_line_plain,
    (grid: &Grid, line: &[f32], first: usize, values: &mut [u8], fractions: &mut [u8])
);

#[inline(always)]
fn quantize_line_plain(grid: &Grid, line: &[f32], first: usize, values: &mut [u8], fractions: &mut [u8]) {
    let count = line.len();
    let inverses = &grid.inverses[first..first + count];
    let offsets = &grid.offsets[first..first + count];
    let fraction_bits = &grid.fraction_bits[first..first + count];
    let (values, fractions) = (&mut values[..count], &mut fractions[..count]);
    for i in 0..count {
        let index = index_of(line[i], inverses[i], offsets[i]);
        values[i] = index.wrapping_shr(fraction_bits[i]).clamp(-MAX_VALUE, MAX_VALUE) as u8;
        fractions[i] = (index << 8 | 128).wrapping_shr(fraction_bits[i]) as u8;
    }
}

#[inline(always)]
fn index_of(x: f32, inverse: f32, offset: f32) -> i32 {
    let scaled = (x * inverse + offset).clamp(-MAX_INDEX, MAX_INDEX);
    (scaled + ROUNDER).to_bits().cast_signed().wrapping_sub(ROUNDER.to_bits().cast_signed())
}

impl Grid {
    /// The value of a channel's number, however large.
    pub(crate) fn value(&self, channel: usize, x: f32) -> i32 {
        index_of(x, self.inverses[channel], self.offsets[channel]) >> self.fraction_bits[channel]
    }
}

/// What is known of the numbers of each channel to one who has only some quality layers.
#[derive(Debug, Default)]
pub(crate) struct Knowledge {
    pub(crate) scales: Scales,
    /// Bits of the index's fraction that are known.
    pub(crate) known_bits: Vec<u32>,
    /// Bits of it that are not.
    pub(crate) unknown_bits: Vec<u32>,
}

on_every_isa!(
    /// What a line comes back as to one who knows only the first bits of each channel's fraction.
    restore_from, restore_from_wide, restore_from_plain,
    (grid: &Grid, knowledge: &Knowledge, exact: &[f32], line: &mut [f32])
);

#[inline(always)]
fn restore_from_plain(grid: &Grid, knowledge: &Knowledge, exact: &[f32], line: &mut [f32]) {
    let count = line.len();
    let (exact, inverses, offsets) = (&exact[..count], &grid.inverses[..count], &grid.offsets[..count]);
    let (known, unknown) = (&knowledge.known_bits[..count], &knowledge.unknown_bits[..count]);
    let (steps, centres) = (&knowledge.scales.steps[..count], &knowledge.scales.offsets[..count]);
    for i in 0..count {
        let index = index_of(exact[i], inverses[i], offsets[i]).wrapping_shr(unknown[i]);
        // The known bits of the fraction from the top, then a one that puts it in the middle.
        let word = (index << 8 | 128).wrapping_shr(known[i]);
        line[i] = word as f32 * steps[i] + centres[i];
    }
}

on_every_isa!(
    /// Sums up numbers and their squares, less a pivot, by channel.
    add_moments, add_moments_wide, add_moments_plain,
    (line: &[f32], pivots: &[f32], sums: &mut [f32], squares: &mut [f32])
);

#[inline(always)]
fn add_moments_plain(line: &[f32], pivots: &[f32], sums: &mut [f32], squares: &mut [f32]) {
    for (((x, pivot), sum), square) in line.iter().zip(pivots).zip(sums).zip(squares) {
        let distance = x - pivot;
        *sum += distance;
        *square += distance * distance;
    }
}

/// The elements of a line as numbers.
pub(crate) fn widen<E: Element>(isa: Isa, elements: &[u8], line: &mut [f32]) {
    match isa.kind() {
        Kind::Scalar => widen_plain::<E>(elements, line),
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the `Isa` is the proof that the processor has AVX2.
        Kind::Avx2 => unsafe { widen_wide::<E>(elements, line) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the `Isa` is the proof that the processor has AVX-512.
        Kind::Avx512 => unsafe { widen_wider::<E>(elements, line) },
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn widen_wide<E: Element>(elements: &[u8], line: &mut [f32]) {
    widen_plain::<E>(elements, line);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl")]
fn widen_wider<E: Element>(elements: &[u8], line: &mut [f32]) {
    widen_plain::<E>(elements, line);
}

#[inline(always)]
fn widen_plain<E: Element>(elements: &[u8], line: &mut [f32]) {
    if E::IS_BF16 {
        for (element, x) in elements.as_chunks::<2>().0.iter().zip(line) {
            *x = f32::from_bits(u32::from(u16::from_le_bytes(*element)) << 16);
        }
    } else {
        for (element, x) in elements.chunks_exact(E::BYTES).zip(line) {
            *x = E::to_f32(E::load(element));
        }
    }
}

/// The elements nearest to the numbers of a line; of two, the one of larger magnitude.
pub(crate) fn narrow<E: Element>(isa: Isa, line: &[f32], elements: &mut [u8]) {
    match isa.kind() {
        Kind::Scalar => narrow_plain::<E>(line, elements),
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the `Isa` is the proof that the processor has AVX2.
        Kind::Avx2 => unsafe { narrow_wide::<E>(line, elements) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the `Isa` is the proof that the processor has AVX-512.
        Kind::Avx512 => unsafe { narrow_wider::<E>(line, elements) },
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn narrow_wide<E: Element>(line: &[f32], elements: &mut [u8]) {
    narrow_plain::<E>(line, elements);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl")]
fn narrow_wider<E: Element>(line: &[f32], elements: &mut [u8]) {
    narrow_plain::<E>(line, elements);
}

#[inline(always)]
fn narrow_plain<E: Element>(line: &[f32], elements: &mut [u8]) {
    if E::IS_BF16 {
        for (element, x) in elements.as_chunks_mut::<2>().0.iter_mut().zip(line) {
            *element = ((x.to_bits().wrapping_add(0x8000) >> 16) as u16).to_le_bytes();
        }
    } else {
        for (element, x) in elements.chunks_exact_mut(E::BYTES).zip(line) {
            E::store(E::from_f32(*x), element);
        }
    }
}

/// Writes a head's elements of consecutive tokens, `[token][head_dim]`, to its plane.
pub(crate) fn put_lines(isa: Isa, lines: &[u8], shape: &PlaneShape, head: usize, first_token: usize, plane: &mut [u8]) {
    let streamed = match isa.kind() {
        Kind::Scalar => false,
        #[cfg(target_arch = "x86_64")]
        Kind::Avx2 | Kind::Avx512 => super::avx2::stream_lines(lines, shape, head, first_token, plane),
    };
    if !streamed {
        let tokens = shape.head_mut(plane, head).skip(first_token);
        tokens.zip(lines.chunks_exact(shape.head_bytes())).for_each(|(to, line)| to.copy_from_slice(line));
    }
}

/// Takes the errors of a head's line in.
pub(crate) fn measure(isa: Isa, token: usize, exact: &[f32], decoded: &[f32], errors: &mut HeadErrors) {
    let (squares, largest) = (&mut errors.squares[token], &mut errors.largest);
    match isa.kind() {
        Kind::Scalar => measure_plain(exact, decoded, squares, largest),
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the `Isa` is the proof that the processor has AVX2.
        Kind::Avx2 | Kind::Avx512 => unsafe { measure_wide(exact, decoded, squares, largest) },
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn measure_wide(exact: &[f32], decoded: &[f32], squares: &mut [f32; PARTIAL_SUMS], largest: &mut [f32; PARTIAL_SUMS]) {
    measure_plain(exact, decoded, squares, largest);
}

#[inline(always)]
fn measure_plain(exact: &[f32], decoded: &[f32], squares: &mut [f32; PARTIAL_SUMS], largest: &mut [f32; PARTIAL_SUMS]) {
    let (whole, rest) = exact.as_chunks::<PARTIAL_SUMS>();
    let (whole_decoded, rest_decoded) = decoded.as_chunks::<PARTIAL_SUMS>();
    let (mut sums, mut most) = (*squares, *largest);
    for (exact, decoded) in whole.iter().zip(whole_decoded) {
        for partial in 0..PARTIAL_SUMS {
            let error = decoded[partial] - exact[partial];
            sums[partial] += error * error;
            most[partial] = if error.abs() > most[partial] { error.abs() } else { most[partial] };
        }
    }
    for (partial, (exact, decoded)) in rest.iter().zip(rest_decoded).enumerate() {
        let error = decoded - exact;
        sums[partial] += error * error;
        most[partial] = most[partial].max(error.abs());
    }
    (*squares, *largest) = (sums, most);
}
