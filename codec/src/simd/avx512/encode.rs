//! rANS encoding: a row is two registers of 16 states, several tiles in lockstep, from the last row to the first.

use std::arch::x86_64::*;

use super::state::{load_states, load_table, store_states};
use crate::model::{CONSTANT, LaneTable, Model};
use crate::rows::{Row, SymbolRows};
use crate::tile::rans::{LANES, STATE_FLOOR, Stream};

/// See [`crate::simd::encode_channels`].
pub(in crate::simd) fn encode_channels(models: &[Vec<Option<&Model>>], symbols: &[SymbolRows]) -> Vec<Stream> {
    let tables: Vec<Vec<&LaneTable>> = models
        .iter()
        .map(|models| models.iter().map(|model| model.map_or(&CONSTANT, Model::lanes)).collect())
        .collect();
    let mut streams = Vec::with_capacity(symbols.len());
    let mut rest = (tables.as_slice(), symbols);
    while !rest.0.is_empty() {
        rest = match rest.0.len() {
            1 => encode_first::<1>(rest.0, rest.1, &mut streams),
            2 | 3 => encode_first::<2>(rest.0, rest.1, &mut streams),
            _ => encode_first::<4>(rest.0, rest.1, &mut streams),
        };
    }
    streams
}

/// Encodes the first `N` tiles and gives the others.
fn encode_first<'r, 'm, const N: usize>(
    tables: &'r [Vec<&'m LaneTable>],
    symbols: &'r [SymbolRows],
    streams: &mut Vec<Stream>,
) -> (&'r [Vec<&'m LaneTable>], &'r [SymbolRows]) {
    let (tables, other_tables) = tables.split_first_chunk::<N>().expect("N tiles are left");
    let (symbols, other_symbols) = symbols.split_first_chunk::<N>().expect("as many symbols");
    // SAFETY: the caller holds an `Isa` of AVX-512.
    streams.extend(unsafe { encode_tiles(tables, symbols) });
    (other_tables, other_symbols)
}

/// Words of a tile, written from the end to the start.
struct Words {
    words: Vec<u16>,
    start: usize,
}

impl Words {
    /// Room for `most` words, and for a register behind them.
    fn new(most: usize) -> Self {
        Self { words: vec![0; most + LANES], start: most }
    }

    /// Puts the first `count` of `words` before those that are there.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn push(&mut self, words: __m512i, count: u32) {
        self.start -= count as usize;
        let room = self.words[self.start..].first_chunk_mut::<LANES>().expect("there is room for a register");
        let mask = ((1u64 << count) - 1) as u32;
        // SAFETY: the reference is to 64 writable bytes.
        unsafe { _mm512_mask_storeu_epi16(room.as_mut_ptr().cast(), mask, words) };
    }

    fn into_vec(self) -> Vec<u16> {
        self.words[self.start..self.words.len() - LANES].to_vec()
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vbmi2,popcnt,bmi2")]
fn encode_tiles<const N: usize>(tables: &[Vec<&LaneTable>; N], symbols: &[SymbolRows; N]) -> [Stream; N] {
    let (rows, num_tokens, num_channels) = (symbols[0].rows_per_channel(), symbols[0].num_tokens(), tables[0].len());
    let mut words = std::array::from_fn::<_, N, _>(|_| Words::new(num_channels * num_tokens));
    let mut states = [load_states(&[STATE_FLOOR; LANES]); N];
    let last_lanes = u32::MAX >> (rows * LANES - num_tokens);
    for channel in (0..num_channels).rev() {
        for row in (0..rows).rev() {
            let lanes = if row + 1 == rows { last_lanes } else { u32::MAX };
            for i in 0..N {
                let row = load_row(&symbols[i].rows()[channel * rows + row]);
                encode_row(&mut states[i], tables[i][channel], row, lanes, &mut words[i]);
            }
        }
    }
    let mut streams = words.map(|words| Stream { states: [0; LANES], words: words.into_vec() });
    for i in 0..N {
        store_states(&mut streams[i].states, states[i]);
    }
    streams
}

/// Encodes a row, whose symbols lie as [`load_row`] puts them.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vbmi2,popcnt,bmi2")]
fn encode_row(states: &mut [__m512i; 2], table: &LaneTable, symbols: __m512i, lanes: u32, words: &mut Words) {
    let [a, b] = *states;
    let freqs = _mm512_permutexvar_epi16(symbols, load_table(&table.freqs));
    let starts = _mm512_permutexvar_epi16(symbols, load_table(&table.starts));
    let low = _mm512_set1_epi32(0xffff);
    let (freqs_a, freqs_b) = (_mm512_and_si512(freqs, low), _mm512_srli_epi32::<16>(freqs));
    let (starts_a, starts_b) = (_mm512_and_si512(starts, low), _mm512_srli_epi32::<16>(starts));
    let (symbols_a, symbols_b) = (_mm512_and_si512(symbols, low), _mm512_srli_epi32::<16>(symbols));
    let full_a = _mm512_cmpge_epu32_mask(_mm512_srli_epi32::<20>(a), freqs_a) & lanes as u16;
    let full_b = _mm512_cmpge_epu32_mask(_mm512_srli_epi32::<20>(b), freqs_b) & (lanes >> 16) as u16;
    let full = u32::from(full_b) << 16 | u32::from(full_a);
    words.push(_mm512_maskz_compress_epi16(full, low_words(a, b)), full.count_ones());
    let short_a = _mm512_mask_srli_epi32::<16>(a, full_a, a);
    let short_b = _mm512_mask_srli_epi32::<16>(b, full_b, b);
    let next_a = step(short_a, freqs_a, starts_a, reciprocals(table, symbols_a));
    let next_b = step(short_b, freqs_b, starts_b, reciprocals(table, symbols_b));
    *states = [_mm512_mask_mov_epi32(a, lanes as u16, next_a), _mm512_mask_mov_epi32(b, (lanes >> 16) as u16, next_b)];
}

/// `(state / freq) * 2^12 + state mod freq + start`, as `state + (state / freq) * (2^12 - freq) + start`.
///
/// The quotient is below 2^20; all roundings are downwards, by 2^-23 of it each, so that it is too small by one at most.
#[inline]
#[target_feature(enable = "avx512f")]
fn step(state: __m512i, freq: __m512i, start: __m512i, reciprocal: __m512) -> __m512i {
    const DOWN: i32 = _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC;
    let quotient = _mm512_mul_round_ps::<DOWN>(_mm512_cvt_roundepu32_ps::<DOWN>(state), reciprocal);
    let quotient = _mm512_cvttps_epu32(quotient);
    let remainder = _mm512_sub_epi32(state, _mm512_mullo_epi32(quotient, freq));
    let too_small = _mm512_cmpge_epu32_mask(remainder, freq);
    let quotient = _mm512_mask_add_epi32(quotient, too_small, quotient, _mm512_set1_epi32(1));
    let rest = _mm512_mullo_epi32(quotient, _mm512_sub_epi32(_mm512_set1_epi32(1 << 12), freq));
    _mm512_add_epi32(_mm512_add_epi32(state, start), rest)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn reciprocals(table: &LaneTable, symbols: __m512i) -> __m512 {
    // SAFETY: the reference is to 128 readable bytes.
    let [low, high] =
        unsafe { [_mm512_loadu_ps(table.reciprocals.as_ptr()), _mm512_loadu_ps(table.reciprocals[16..].as_ptr())] };
    _mm512_permutex2var_ps(low, symbols, high)
}

/// The low words of the states, lane by lane.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn low_words(a: __m512i, b: __m512i) -> __m512i {
    const EVEN: [u16; 32] = {
        let mut even = [0; 32];
        let mut lane = 0;
        while lane < 32 {
            even[lane] = 2 * lane as u16;
            lane += 1;
        }
        even
    };
    _mm512_permutex2var_epi16(a, load_table(&EVEN), b)
}

/// Symbols as words: lane `i` of the first half at `2 * i`, of the second at `2 * i + 1`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn load_row(row: &Row) -> __m512i {
    const ORDER: [u8; 64] = {
        let mut order = [0; 64];
        let mut word = 0;
        while word < LANES {
            order[2 * word] = (word / 2 + 16 * (word % 2)) as u8;
            word += 1;
        }
        order
    };
    const LOW_BYTES: u64 = 0x5555_5555_5555_5555;
    // SAFETY: the references are to 32 and 64 readable bytes.
    let (row, order) = unsafe { (_mm256_loadu_si256(row.as_ptr().cast()), _mm512_loadu_si512(ORDER.as_ptr().cast())) };
    _mm512_maskz_permutexvar_epi8(LOW_BYTES, order, _mm512_castsi256_si512(row))
}
