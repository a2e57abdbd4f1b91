//! Lines of a head as `f32`, token by token: from elements and back, turned, restored.
//!
//! The loops are written once, plainly, and compiled for each instruction set. No operation is fused or put in another
//! order, so that results are equal to the bit.

use super::Isa;
use super::isa::Kind;
use crate::element::Element;
use crate::plane::PlaneShape;
use crate::rows::{BLOCK_CHANNELS, Row, Square};

/// Cosines and sines by which a key turns: half as many as it has channels.
pub(crate) type Turn<'a> = [&'a [f32]; 2];

/// What the values of each channel stand for: value `v` and fraction `t` are `(256 v + t) * step + offset`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scales {
    pub(crate) steps: Vec<f32>,
    pub(crate) offsets: Vec<f32>,
}

/// Defines a function that runs the plain loop of the same name as it is, or compiled for AVX2 or AVX-512.
macro_rules! on_every_isa {
    ($(#[$doc:meta])* $name:ident $(<$element:ident>)?, $plain:ident, ($($argument:ident: $type:ty),*)) => {
        $(#[$doc])*
        pub(crate) fn $name $(<$element: Element>)? (isa: Isa, $($argument: $type),*) {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2")]
            fn wide $(<$element: Element>)? ($($argument: $type),*) {
                $plain $(::<$element>)? ($($argument),*);
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512bw,avx512dq,avx512vl")]
            fn wider $(<$element: Element>)? ($($argument: $type),*) {
                $plain $(::<$element>)? ($($argument),*);
            }
            match isa.kind() {
                Kind::Scalar => $plain $(::<$element>)? ($($argument),*),
                #[cfg(target_arch = "x86_64")]
                // SAFETY: the `Isa` is the proof that the processor has AVX2.
                Kind::Avx2 => unsafe { wide $(::<$element>)? ($($argument),*) },
                #[cfg(target_arch = "x86_64")]
                // SAFETY: the `Isa` is the proof that the processor has AVX-512.
                Kind::Avx512 => unsafe { wider $(::<$element>)? ($($argument),*) },
            }
        }
    };
}

pub(super) use on_every_isa;

on_every_isa!(
    /// The elements of a line as numbers, keys turned back.
    gather<E>, gather_plain, (elements: &[u8], turn: Option<Turn<'_>>, line: &mut [f32])
);

#[inline(always)]
fn gather_plain<E: Element>(elements: &[u8], turn: Option<Turn<'_>>, line: &mut [f32]) {
    widen_plain::<E>(elements, line);
    if let Some([cos, sin]) = turn {
        let (first, second) = line.split_at_mut(cos.len());
        for (((a, b), cos), sin) in first.iter_mut().zip(second).zip(cos).zip(sin) {
            (*a, *b) = (*a * cos + *b * sin, *b * cos - *a * sin);
        }
    }
}

#[inline(always)]
pub(super) fn widen_plain<E: Element>(elements: &[u8], line: &mut [f32]) {
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

/// A number that a line's values cannot say.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FarNumber {
    pub(crate) channel: usize,
    pub(crate) number: f32,
}

/// A line of values and fractions, to restore.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CodedLine<'a> {
    /// Those of each block.
    pub(crate) squares: &'a [[Square; 2]],
    /// The line of the squares.
    pub(crate) lane: usize,
    pub(crate) far: &'a [FarNumber],
    /// The turn of the key, for keys.
    pub(crate) turn: Option<Turn<'a>>,
}

on_every_isa!(
    /// The elements nearest to the numbers that a line stands for, keys turned; of two, the one of larger magnitude. `room`
    /// is for the numbers.
    restore<E>, restore_plain,
    (scales: &Scales, line: CodedLine<'_>, room: &mut [f32], elements: &mut [u8])
);

#[inline(always)]
fn restore_plain<E: Element>(scales: &Scales, line: CodedLine<'_>, room: &mut [f32], elements: &mut [u8]) {
    let CodedLine { squares, lane, far, turn } = line;
    let (steps, last_steps) = scales.steps.as_chunks::<BLOCK_CHANNELS>();
    let (offsets, last_offsets) = scales.offsets.as_chunks::<BLOCK_CHANNELS>();
    let (blocks, last) = room.as_chunks_mut::<BLOCK_CHANNELS>();
    for (((line, steps), offsets), squares) in blocks.iter_mut().zip(steps).zip(offsets).zip(squares) {
        restore_block(steps, offsets, squares.each_ref().map(|square| &square[lane]), line);
    }
    if let Some(squares) = squares.get(steps.len()) {
        restore_block(last_steps, last_offsets, squares.each_ref().map(|square| &square[lane]), last);
    }
    far.iter().for_each(|far| room[far.channel] = far.number);
    if let Some([cos, sin]) = turn {
        rotate_plain(room, cos, sin);
    }
    narrow_plain::<E>(room, elements);
}

#[inline(always)]
fn restore_block(steps: &[f32], offsets: &[f32], [values, fractions]: [&Row; 2], line: &mut [f32]) {
    let scales = steps.iter().zip(offsets);
    for ((x, (step, offset)), (value, fraction)) in line.iter_mut().zip(scales).zip(values.iter().zip(fractions)) {
        let word = i32::from(value.cast_signed()) << 8 | i32::from(*fraction);
        *x = word as f32 * step + offset;
    }
}

/// Turns a key forward.
#[inline(always)]
pub(super) fn rotate_plain(line: &mut [f32], cos: &[f32], sin: &[f32]) {
    let (first, second) = line.split_at_mut(cos.len());
    for (((a, b), cos), sin) in first.iter_mut().zip(second).zip(cos).zip(sin) {
        (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
    }
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

/// Numbers to those of the nearest elements, as [`restore`] has them.
#[inline(always)]
pub(super) fn round_plain<E: Element>(line: &mut [f32]) {
    if E::IS_BF16 {
        line.iter_mut().for_each(|x| *x = f32::from_bits(x.to_bits().wrapping_add(0x8000) & 0xffff_0000));
    } else {
        line.iter_mut().for_each(|x| *x = E::to_f32(E::from_f32(*x)));
    }
}

on_every_isa!(
    /// Sums up numbers and their squares, less a pivot, by channel.
    add_moments, add_moments_plain,
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
