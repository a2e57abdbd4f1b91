//! rANS decoding: a row is two registers of 16 states, several tiles in lockstep.
//!
//! The symbol is found by a binary search over the first slots, which lie in one register.

use std::arch::x86_64::*;

use super::state::{load_states, load_table, store_row, store_states};
use crate::Result;
use crate::model::{CONSTANT, LaneTable, Model};
use crate::rows::SymbolRows;
use crate::tile::rans::{Decoder, LANES, WORD_BYTES};

/// Symbols of the smaller alphabet.
const NARROW_ALPHABET: usize = 16;

/// See [`crate::simd::decode_channels`].
pub(in crate::simd) fn decode_channels(
    tiles: &mut [Decoder<'_>],
    models: &[Vec<Option<&Model>>],
    symbols: &mut [SymbolRows],
) -> Result<()> {
    for ((tile, models), symbols) in tiles.iter().zip(models).zip(symbols.iter()) {
        if models.iter().any(Option::is_some) {
            tile.check_lanes(symbols.num_tokens())?;
        }
    }
    let tables: Vec<Vec<&LaneTable>> = models
        .iter()
        .map(|models| models.iter().map(|model| model.map_or(&CONSTANT, Model::lanes)).collect())
        .collect();
    let wide = models.iter().flatten().flatten().any(|model| model.costs().len() > NARROW_ALPHABET);
    let mut rest = (tiles, tables.as_slice(), symbols);
    loop {
        rest = match rest.0.len() {
            0 => return Ok(()),
            1 => decode_first::<1>(rest.0, rest.1, rest.2, wide)?,
            2 | 3 => decode_first::<2>(rest.0, rest.1, rest.2, wide)?,
            _ => decode_first::<4>(rest.0, rest.1, rest.2, wide)?,
        }
    }
}

/// The tiles that are left, their models and their symbols.
type Rest<'r, 'a, 'm> = (&'r mut [Decoder<'a>], &'r [Vec<&'m LaneTable>], &'r mut [SymbolRows]);

/// Decodes the first `N` tiles and gives the others.
fn decode_first<'r, 'a, 'm, const N: usize>(
    tiles: &'r mut [Decoder<'a>],
    tables: &'r [Vec<&'m LaneTable>],
    symbols: &'r mut [SymbolRows],
    wide: bool,
) -> Result<Rest<'r, 'a, 'm>> {
    let (tiles, other_tiles) = tiles.split_first_chunk_mut::<N>().expect("N tiles are left");
    let (tables, other_tables) = tables.split_first_chunk::<N>().expect("as many models");
    let (symbols, other_symbols) = symbols.split_first_chunk_mut::<N>().expect("as many symbols");
    // SAFETY: the caller holds an `Isa` of AVX-512.
    let used = unsafe {
        if wide {
            decode_tiles::<N, true>(tiles, tables, symbols)
        } else {
            decode_tiles::<N, false>(tiles, tables, symbols)
        }
    };
    tiles.iter_mut().zip(used).try_for_each(|(tile, used)| tile.advance(used))?;
    Ok((other_tiles, other_tables, other_symbols))
}

/// The words of a tile, of which 32 can be looked at wherever the next one is: behind the last there are zeros.
struct Words<'a> {
    words: &'a [[u8; WORD_BYTES]],
    next: usize,
    tail: [[u8; WORD_BYTES]; 2 * LANES],
    tail_start: usize,
}

impl<'a> Words<'a> {
    fn new(words: &'a [[u8; WORD_BYTES]]) -> Self {
        let tail_start = words.len().saturating_sub(LANES);
        let mut tail = [[0; WORD_BYTES]; 2 * LANES];
        tail[..words.len() - tail_start].copy_from_slice(&words[tail_start..]);
        Self { words, next: 0, tail, tail_start }
    }

    /// The next 32 words; nothing when more than there are have been used.
    #[inline]
    fn peek(&self) -> Option<&[[u8; WORD_BYTES]; LANES]> {
        match self.words.get(self.next..).and_then(<[_]>::first_chunk) {
            Some(words) => Some(words),
            None => self.tail.get(self.next - self.tail_start..)?.first_chunk(),
        }
    }
}

/// Decodes all channels of `N` tiles and gives the number of words that each used; where they run out, more than there
/// are.
#[expect(clippy::needless_range_loop, reason = "tiles and channels index several arrays in lockstep")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vbmi2,popcnt,bmi2")]
fn decode_tiles<const N: usize, const WIDE: bool>(
    tiles: &mut [Decoder<'_>; N],
    tables: &[Vec<&LaneTable>; N],
    symbols: &mut [SymbolRows; N],
) -> [usize; N] {
    let mut states = [[_mm512_setzero_si512(); 2]; N];
    let mut words = tiles.each_ref().map(|tile| Words::new(tile.words()));
    for i in 0..N {
        states[i] = load_states(tiles[i].states_mut());
    }
    let (rows, num_tokens) = (symbols[0].rows_per_channel(), symbols[0].num_tokens());
    let last_lanes = u32::MAX >> (rows * LANES - num_tokens);
    'channels: for channel in 0..tables[0].len() {
        for row in 0..rows {
            let lanes = if row + 1 == rows { last_lanes } else { u32::MAX };
            for i in 0..N {
                let Some(next) = words[i].peek() else { break 'channels };
                let (row_symbols, used) = decode_row::<WIDE>(&mut states[i], tables[i][channel], next, lanes);
                words[i].next += used;
                store_row(&mut symbols[i].rows_mut()[channel * rows + row], row_symbols);
            }
        }
    }
    for i in 0..N {
        store_states(tiles[i].states_mut(), states[i]);
    }
    words.map(|words| words.next)
}

/// Decodes a row: lane `i`'s symbol is word `2 * i` of the result for the first half, `2 * (i - 16) + 1` for the second.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vbmi2,popcnt,bmi2")]
fn decode_row<const WIDE: bool>(
    states: &mut [__m512i; 2],
    table: &LaneTable,
    words: &[[u8; WORD_BYTES]; LANES],
    lanes: u32,
) -> (__m512i, usize) {
    let [a, b] = *states;
    let starts = load_table(&table.starts);
    let slots = _mm512_mask_blend_epi16(0xaaaa_aaaa, a, _mm512_slli_epi32::<16>(b));
    let slots = _mm512_and_si512(slots, _mm512_set1_epi16(0xfff));
    let symbols = search::<WIDE>(slots, starts);
    let freqs = _mm512_permutexvar_epi16(symbols, load_table(&table.freqs));
    let places = _mm512_sub_epi16(slots, _mm512_permutexvar_epi16(symbols, starts));
    let low = _mm512_set1_epi32(0xffff);
    let next_a = step(a, _mm512_and_si512(freqs, low), _mm512_and_si512(places, low));
    let next_b = step(b, _mm512_srli_epi32::<16>(freqs), _mm512_srli_epi32::<16>(places));
    let floor = _mm512_set1_epi32(1 << 16);
    let refill_a = _mm512_cmplt_epu32_mask(next_a, floor) & lanes as u16;
    let refill_b = _mm512_cmplt_epu32_mask(next_b, floor) & (lanes >> 16) as u16;
    let used_a = refill_a.count_ones() as usize;
    let words_a = expand(refill_a, &words[..16]);
    let words_b = expand(refill_b, &words[used_a..used_a + 16]);
    let next_a = _mm512_mask_or_epi32(next_a, refill_a, _mm512_slli_epi32::<16>(next_a), words_a);
    let next_b = _mm512_mask_or_epi32(next_b, refill_b, _mm512_slli_epi32::<16>(next_b), words_b);
    *states = [_mm512_mask_mov_epi32(a, lanes as u16, next_a), _mm512_mask_mov_epi32(b, (lanes >> 16) as u16, next_b)];
    (symbols, used_a + refill_b.count_ones() as usize)
}

/// The symbol whose slots each slot is among.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn search<const WIDE: bool>(slots: __m512i, starts: __m512i) -> __m512i {
    let mut symbols = _mm512_setzero_si512();
    for half in [16, 8, 4, 2, 1].into_iter().skip(usize::from(!WIDE)) {
        let candidates = _mm512_add_epi16(symbols, _mm512_set1_epi16(half));
        let below = _mm512_cmple_epu16_mask(_mm512_permutexvar_epi16(candidates, starts), slots);
        symbols = _mm512_mask_mov_epi16(symbols, below, candidates);
    }
    symbols
}

/// The first of 16 words, in the lanes of `mask`.
///
/// Words become states' halves before they are expanded: Zen 4 takes its time to expand words from memory.
#[inline]
#[target_feature(enable = "avx512f")]
fn expand(mask: __mmask16, words: &[[u8; WORD_BYTES]]) -> __m512i {
    let words: &[[u8; WORD_BYTES]; 16] = words.first_chunk().expect("16 words");
    // SAFETY: the reference is to 32 readable bytes.
    let words = unsafe { _mm256_loadu_si256(words.as_ptr().cast()) };
    _mm512_maskz_expand_epi32(mask, _mm512_cvtepu16_epi32(words))
}

/// `freq * (state / 2^12) + place`
#[inline]
#[target_feature(enable = "avx512f")]
fn step(state: __m512i, freq: __m512i, place: __m512i) -> __m512i {
    _mm512_add_epi32(_mm512_mullo_epi32(_mm512_srli_epi32::<12>(state), freq), place)
}
