//! rANS encoding: tile by tile, row by row, from the last one to the first.

use std::arch::x86_64::*;

use super::lanes::{States, byte_of_words, load, load_states, load_table, store_states};
use crate::model::{LaneTable, Model};
use crate::rows::{BLOCK_CHANNELS, Square, TileRows};
use crate::tile::rans::{Encoder, LANES};

/// Words that a register puts out at most.
const WORDS: usize = 8;

/// See [`crate::simd::encode_tile`].
pub(in crate::simd) fn encode_tile(encoder: &mut Encoder, models: &[Option<&'static Model>], rows: &TileRows) {
    for (channel, model) in models.iter().enumerate().rev() {
        if let Some(model) = model {
            encode_channel(encoder, model, rows, channel);
        }
    }
}

/// Encodes one channel: a short row by the scalar path, whole rows here.
fn encode_channel(encoder: &mut Encoder, model: &Model, rows: &TileRows, channel: usize) {
    let (num_tokens, whole_rows) = (rows.num_tokens(), rows.num_tokens() / LANES);
    if !num_tokens.is_multiple_of(LANES) {
        encoder.push_row(model, rows.channel(channel).next_back().expect("a channel has rows"));
    }
    let squares = &rows.block(channel / BLOCK_CHANNELS)[..whole_rows];
    // SAFETY: the caller holds an `Isa` of AVX2.
    unsafe { encode_rows(encoder, model.lanes(), squares, channel % BLOCK_CHANNELS) };
}

#[target_feature(enable = "avx2,bmi1,bmi2,popcnt")]
fn encode_rows(encoder: &mut Encoder, table: &LaneTable, squares: &[Square], channel: usize) {
    let (stored, words, start) = encoder.parts_mut();
    let mut states = load_states(stored);
    for square in squares.iter().rev() {
        states = encode_row(states, table, load(&square[channel]), words, start);
    }
    store_states(stored, states);
}

/// Encodes a row; its words go before `start`.
#[inline]
#[target_feature(enable = "avx2,bmi1,bmi2,popcnt")]
fn encode_row(states: States, table: &LaneTable, symbols: __m256i, words: &mut [u16], start: &mut usize) -> States {
    let freqs = _mm256_shuffle_epi8(load_table(&table.freqs), symbols);
    let starts = _mm256_shuffle_epi8(load_table(&table.starts), symbols);
    let reciprocals = reciprocals(table, symbols);
    let mut next = states;
    for g in (0..4).rev() {
        let freq = byte_of_words(freqs, g);
        let roomy = _mm256_cmpgt_epi32(freq, _mm256_srli_epi32::<24>(states[g]));
        let full = !_mm256_movemask_ps(_mm256_castsi256_ps(roomy)) as usize & 0xff;
        put_words(states[g], full, words, start);
        let state = _mm256_blendv_epi8(_mm256_srli_epi32::<16>(states[g]), states[g], roomy);
        next[g] = step(state, freq, byte_of_words(starts, g), reciprocals[g]);
    }
    next
}

/// `(state / freq) * 2^8 + state mod freq + start`.
///
/// The quotient by the reciprocal is too small by one at most, since the reciprocal is too small by less than one and
/// the state is below 2^32.
#[inline]
#[target_feature(enable = "avx2")]
fn step(state: __m256i, freq: __m256i, start: __m256i, reciprocal: __m256i) -> __m256i {
    let even = _mm256_srli_epi64::<32>(_mm256_mul_epu32(state, reciprocal));
    let odd = _mm256_mul_epu32(_mm256_srli_epi64::<32>(state), _mm256_srli_epi64::<32>(reciprocal));
    let quotient = _mm256_blend_epi32::<0xaa>(even, odd);
    let rest = _mm256_sub_epi32(state, _mm256_mullo_epi32(quotient, freq));
    // One more in the quotient takes freq from the rest and gives 2^8.
    let exact = _mm256_cmpgt_epi32(freq, rest);
    let more = _mm256_andnot_si256(exact, _mm256_sub_epi32(_mm256_set1_epi32(1 << 8), freq));
    let sum = _mm256_add_epi32(_mm256_slli_epi32::<8>(quotient), _mm256_add_epi32(rest, start));
    _mm256_add_epi32(sum, more)
}

/// Puts the low words of the states in `full` before `start`, in the order of lanes.
#[inline]
#[target_feature(enable = "avx2,popcnt")]
fn put_words(states: __m256i, full: usize, words: &mut [u16], start: &mut usize) {
    let room = words[..*start].last_chunk_mut::<WORDS>().expect("an encoder has room for eight words more");
    let low = _mm256_shuffle_epi8(states, load(&LOW_WORDS));
    let eight = _mm_unpacklo_epi64(_mm256_castsi256_si128(low), _mm256_extracti128_si256::<1>(low));
    // SAFETY: the references are to 16 readable and writable bytes.
    unsafe {
        let picks = _mm_loadu_si128(LAST_WORDS.0[full].as_ptr().cast());
        _mm_storeu_si128(room.as_mut_ptr().cast(), _mm_shuffle_epi8(eight, picks));
    }
    *start -= full.count_ones() as usize;
}

/// The reciprocals of the symbols' frequencies, put together from bytes.
#[inline]
#[target_feature(enable = "avx2")]
fn reciprocals(table: &LaneTable, symbols: __m256i) -> States {
    let bytes = table.reciprocals.each_ref().map(|bytes| _mm256_shuffle_epi8(load_table(bytes), symbols));
    let high = _mm256_set1_epi16(0xff00u16.cast_signed());
    // Words of bytes 2 g and 2 g + 1, of the even and of the odd tokens of each pair.
    let pairs = [[bytes[0], bytes[1]], [bytes[2], bytes[3]]].map(|[low, above]| {
        let even = _mm256_blendv_epi8(low, _mm256_slli_epi16::<8>(above), high);
        let odd = _mm256_blendv_epi8(_mm256_srli_epi16::<8>(low), above, high);
        [even, odd]
    });
    let [[even_low, odd_low], [even_high, odd_high]] = pairs;
    let first = |low, high| _mm256_blend_epi16::<0xaa>(low, _mm256_slli_epi32::<16>(high));
    let second = |low, high| _mm256_blend_epi16::<0xaa>(_mm256_srli_epi32::<16>(low), high);
    [first(even_low, even_high), first(odd_low, odd_high), second(even_low, even_high), second(odd_low, odd_high)]
}

/// The low halves of four words to the front of their 16 bytes.
static LOW_WORDS: [u8; 32] = {
    let mut picks = [0x80; 32];
    let mut word = 0;
    while word < 8 {
        let (at, from) = (word / 4 * 16 + word % 4 * 2, (word % 4 * 4) as u8);
        (picks[at], picks[at + 1]) = (from, from + 1);
        word += 1;
    }
    picks
};

/// By mask: the words in it, behind all others.
#[repr(align(64))]
struct LastWords([[u8; 16]; 256]);

static LAST_WORDS: LastWords = {
    let mut table = [[0x80; 16]; 256];
    let mut mask = 0;
    while mask < 256 {
        let (mut at, mut word) = (16, 8u8);
        while word > 0 {
            word -= 1;
            if mask >> word & 1 == 1 {
                at -= 2;
                (table[mask][at], table[mask][at + 1]) = (2 * word, 2 * word + 1);
            }
        }
        mask += 1;
    }
    LastWords(table)
};
