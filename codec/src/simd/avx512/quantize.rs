//! bf16 elements to symbols: 8 channels of 32 tokens are turned, then a channel's row is quantized at once.

use std::arch::x86_64::*;

use super::state::store_row;
use super::transpose::{CHANNELS, turn_elements};
use crate::plane::HeadView;
use crate::rows::SymbolRows;
use crate::simd::quantize::{HeadErrors, Quantizer};
use crate::tile::rans::LANES;

/// See [`crate::simd::quantize()`]; the head has a multiple of 8 channels.
pub(in crate::simd) fn quantize(quantizer: &Quantizer, head: &HeadView<'_>, symbols: &mut SymbolRows) -> HeadErrors {
    // SAFETY: the caller holds an `Isa` of AVX-512.
    unsafe { quantize_head(quantizer, head, symbols) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vbmi2,popcnt,bmi2")]
fn quantize_head(quantizer: &Quantizer, head: &HeadView<'_>, symbols: &mut SymbolRows) -> HeadErrors {
    let mut errors = HeadErrors { squares: Vec::with_capacity(head.num_tokens), max_error: 0.0 };
    let rows = symbols.rows_per_channel();
    for row in 0..rows {
        let lanes = (head.num_tokens - row * LANES).min(LANES);
        // Lanes beyond a short row repeat its last token.
        let tokens: [usize; LANES] = std::array::from_fn(|lane| row * LANES + lane.min(lanes - 1));
        let mut quantizer = RowQuantizer::new(quantizer, &tokens);
        for first in (0..head.head_dim).step_by(CHANNELS) {
            for (i, elements) in turn_elements(head, &tokens, first).into_iter().enumerate() {
                store_row(&mut symbols.rows_mut()[(first + i) * rows + row], quantizer.quantize(elements));
            }
        }
        errors.max_error = errors.max_error.max(quantizer.max_error());
        errors.squares.extend_from_slice(&quantizer.squares()[..lanes]);
    }
    errors
}

/// The quantizer of 32 tokens, and the errors so far.
struct RowQuantizer {
    center: __m512,
    fractions: [__m512; 2],
    /// Of the two halves of the row.
    halves: [Half; 2],
}

#[derive(Clone, Copy)]
struct Half {
    factors: __m512,
    finite: __mmask16,
    scales: __m512,
    max_error: __m512,
    squares: [__m512d; 2],
}

impl RowQuantizer {
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vbmi2,popcnt,bmi2")]
    fn new(quantizer: &Quantizer, tokens: &[usize; LANES]) -> Self {
        let (low, high) = quantizer.fractions.split_first_chunk().expect("32 fractions");
        let half = |first: usize| {
            let factors = std::array::from_fn(|lane| quantizer.factors[tokens[first + lane]]);
            let scales = std::array::from_fn(|lane| quantizer.scales[tokens[first + lane]]);
            let factors = load(&factors);
            Half {
                factors,
                finite: _mm512_cmp_ps_mask::<_CMP_LT_OQ>(factors, _mm512_set1_ps(f32::INFINITY)),
                scales: load(&scales),
                max_error: _mm512_setzero_ps(),
                squares: [_mm512_setzero_pd(); 2],
            }
        };
        Self {
            center: _mm512_set1_ps(quantizer.center),
            fractions: [load(low), load(high.first_chunk().expect("32 fractions"))],
            halves: [half(0), half(16)],
        }
    }

    /// Symbols of a channel, as words in the order of its elements.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vbmi2,popcnt,bmi2")]
    fn quantize(&mut self, elements: __m512i) -> __m512i {
        let first = _mm512_castsi512_ps(_mm512_slli_epi32::<16>(elements));
        let second = _mm512_castsi512_ps(_mm512_and_si512(elements, _mm512_set1_epi32(!0xffff)));
        let [first_half, second_half] = &mut self.halves;
        let first = first_half.quantize(first, self.center, &self.fractions);
        let second = second_half.quantize(second, self.center, &self.fractions);
        _mm512_or_si512(first, _mm512_slli_epi32::<16>(second))
    }

    #[target_feature(enable = "avx512f")]
    fn max_error(&self) -> f64 {
        let [first, second] = self.halves.map(|half| half.max_error);
        f64::from(_mm512_reduce_max_ps(_mm512_max_ps(first, second)))
    }

    #[target_feature(enable = "avx512f")]
    fn squares(&self) -> [f64; LANES] {
        let mut squares = [0.0; LANES];
        let registers = self.halves.iter().flat_map(|half| half.squares);
        for (to, register) in squares.chunks_exact_mut(8).zip(registers) {
            // SAFETY: the slice has 8 writable numbers.
            unsafe { _mm512_storeu_pd(to.as_mut_ptr(), register) };
        }
        squares
    }
}

impl Half {
    /// Symbols of 16 tokens.
    ///
    /// The difference of an element and what it decodes to is exact in `f32`: the symbol is the nearest, so either one
    /// of the two is zero or they differ by less than a factor of four, and both have 8 bits; where the factor is not
    /// finite, both are below 2^-123 and multiples of 2^-133.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vbmi2,popcnt,bmi2")]
    fn quantize(&mut self, values: __m512, center: __m512, fractions: &[__m512; 2]) -> __m512i {
        const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
        let scaled = _mm512_add_ps(_mm512_mul_ps(values, self.factors), center);
        let symbols = _mm512_maskz_cvt_roundps_epi32::<NEAREST>(self.finite, scaled);
        let fraction = _mm512_permutex2var_ps(fractions[0], symbols, fractions[1]);
        let errors = _mm512_sub_ps(round_to_bf16(_mm512_mul_ps(fraction, self.scales)), values);
        self.max_error = _mm512_max_ps(self.max_error, _mm512_abs_ps(errors));
        let halves = [_mm512_castps512_ps256(errors), _mm512_extractf32x8_ps::<1>(errors)];
        for (sum, errors) in self.squares.iter_mut().zip(halves) {
            let errors = _mm512_cvtps_pd(errors);
            *sum = _mm512_add_pd(*sum, _mm512_mul_pd(errors, errors));
        }
        symbols
    }
}

/// The nearest bf16, ties to even, of finite values that do not overflow.
#[inline]
#[target_feature(enable = "avx512f")]
fn round_to_bf16(values: __m512) -> __m512 {
    let bits = _mm512_castps_si512(values);
    let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
    let rounded = _mm512_add_epi32(_mm512_add_epi32(bits, odd), _mm512_set1_epi32(0x7fff));
    _mm512_castsi512_ps(_mm512_and_si512(rounded, _mm512_set1_epi32(!0xffff)))
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load(values: &[f32; 16]) -> __m512 {
    // SAFETY: the reference is to 64 readable bytes.
    unsafe { _mm512_loadu_ps(values.as_ptr()) }
}
