//! rANS encoding: tile by tile, row by row, from the last one to the first.

use std::arch::asm;
use std::arch::x86_64::*;

use super::halves::{Halves, load_halves, store_halves};
use super::lanes::{kept, load, load_row, load_table};
use crate::model::{LaneTable, Model};
use crate::rows::{BLOCK_CHANNELS, Row, Square, TileRows};
use crate::tile::rans::{Encoder, LANES, token_of};

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
    // SAFETY: the caller holds an `Isa` of AVX-512.
    unsafe { encode_rows(encoder, model.lanes(), squares, channel % BLOCK_CHANNELS) };
}

#[target_feature(enable = "avx512vbmi,avx512vbmi2,popcnt")]
fn encode_rows(encoder: &mut Encoder, table: &LaneTable, squares: &[Square], channel: usize) {
    let table = Table::load(table);
    let (stored, words, start) = encoder.parts_mut();
    let mut states = load_halves(stored);
    for square in squares.iter().rev() {
        states = encode_row(states, &table, &square[channel], words, start);
    }
    store_halves(stored, states);
}

/// A model in registers.
struct Table {
    starts: __m512i,
    freqs: __m512i,
    /// Words of `(2^32 - 1) / freq`.
    reciprocals: __m512i,
    /// Every second byte, word or double word, from the second on.
    odd: __mmask64,
}

impl Table {
    #[inline]
    #[target_feature(enable = "avx512vbmi")]
    fn load(table: &LaneTable) -> Self {
        let planes = load(table.reciprocals.as_flattened().first_chunk().expect("64 bytes"));
        Self {
            starts: load_table(&table.starts),
            freqs: load_table(&table.freqs),
            reciprocals: _mm512_permutexvar_epi8(load(&BYTES_OF_WORDS), planes),
            odd: kept(0xaaaa_aaaa_aaaa_aaaa),
        }
    }
}

/// Encodes a row; its words go before `start`.
#[inline]
#[target_feature(enable = "avx512vbmi,avx512vbmi2,popcnt")]
fn encode_row(states: Halves, table: &Table, row: &Row, words: &mut [u16], start: &mut usize) -> Halves {
    let symbols = _mm512_permutexvar_epi8(load(&CODERS), _mm512_zextsi256_si512(load_row(row)));
    let starts = _mm512_maskz_shuffle_epi8(!table.odd, table.starts, symbols);
    let scaled_freqs = _mm512_maskz_shuffle_epi8(table.odd, table.freqs, symbols);
    let full = _mm512_cmpge_epu16_mask(states.upper, scaled_freqs);
    put_words(states.lower, full, words, start);
    let states = Halves {
        upper: _mm512_mask_mov_epi16(states.upper, full, _mm512_setzero_si512()),
        lower: _mm512_mask_mov_epi16(states.lower, full, states.upper),
    };
    step(states, divide(states, table, symbols), starts, _mm512_srli_epi16::<8>(scaled_freqs))
}

/// The products of the states and the reciprocals, divided by 2^32: quotients below 2^24, given as their low 16 bits, and
/// what is above their low 8.
///
/// A quotient is too small by one at most, since the reciprocal is too small by less than one and the state is below 2^32.
#[inline]
#[target_feature(enable = "avx512bw")]
fn divide(states: Halves, table: &Table, symbols: __m512i) -> Quotients {
    let Halves { upper, lower } = states;
    // Coders 0, 2, and so on, and coders 1, 3, and so on.
    let odd_words = table.odd as __mmask32;
    let even = _mm512_mask_mov_epi16(lower, odd_words, _mm512_slli_epi32::<16>(upper));
    let odd = _mm512_mask_mov_epi16(_mm512_srli_epi32::<16>(lower), odd_words, upper);
    // The permutation looks at the low 4 bits of each word of 32.
    let even = high_product(even, _mm512_permutexvar_epi32(symbols, table.reciprocals), table.odd as __mmask16);
    let symbols = _mm512_srli_epi32::<16>(symbols);
    let odd = high_product(odd, _mm512_permutexvar_epi32(symbols, table.reciprocals), table.odd as __mmask16);
    Quotients {
        low: _mm512_mask_mov_epi16(even, odd_words, _mm512_slli_epi32::<16>(odd)),
        above_byte: _mm512_mask_mov_epi16(_mm512_srli_epi32::<8>(even), odd_words, _mm512_slli_epi32::<8>(odd)),
    }
}

struct Quotients {
    low: __m512i,
    above_byte: __m512i,
}

/// The upper halves of the products of words of 32 bits; `odd` has every second one.
#[inline]
#[target_feature(enable = "avx512f")]
fn high_product(a: __m512i, b: __m512i, odd: __mmask16) -> __m512i {
    let of_even = _mm512_srli_epi64::<32>(_mm512_mul_epu32(a, b));
    let of_odd = _mm512_mul_epu32(_mm512_srli_epi64::<32>(a), _mm512_srli_epi64::<32>(b));
    _mm512_mask_mov_epi32(of_even, odd, of_odd)
}

/// `(state / freq) * 2^8 + state mod freq + start`.
///
/// In assembly where there are masks, because the compiler makes chains of more instructions of them.
#[inline]
#[target_feature(enable = "avx512bw")]
fn step(states: Halves, quotients: Quotients, starts: __m512i, freqs: __m512i) -> Halves {
    let Quotients { low, above_byte: mut upper } = quotients;
    let rests = _mm512_sub_epi16(states.lower, _mm512_mullo_epi16(low, freqs));
    let last_bytes = _mm512_slli_epi16::<8>(low);
    let mut lower = _mm512_add_epi16(last_bytes, _mm512_add_epi16(rests, starts));
    // One more in the quotient takes freq from the rest and gives 2^8, which carries where the quotient ends in 2^8 - 1.
    // SAFETY: these instructions of AVX-512 change nothing but the registers that are named.
    unsafe {
        asm!(
            "vpcmpeqw {carries}, {last_bytes}, {most}",
            "vpcmpuw {more}, {rests}, {freqs}, 5",
            "kandd {carries}, {carries}, {more}",
            "vpsubw {upper}{{{carries}}}, {upper}, {minus_one}",
            "vpaddw {lower}{{{more}}}, {lower}, {gain}",
            carries = out(kreg) _,
            more = out(kreg) _,
            last_bytes = in(zmm_reg) last_bytes,
            most = in(zmm_reg) _mm512_set1_epi16(0xff00u16.cast_signed()),
            rests = in(zmm_reg) rests,
            freqs = in(zmm_reg) freqs,
            upper = inout(zmm_reg) upper,
            minus_one = in(zmm_reg) _mm512_set1_epi16(-1),
            lower = inout(zmm_reg) lower,
            gain = in(zmm_reg) _mm512_sub_epi16(_mm512_set1_epi16(1 << 8), freqs),
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    Halves { upper, lower }
}

/// Puts the words in `full` before `start`, in their order.
#[inline]
#[target_feature(enable = "avx512vbmi2,popcnt")]
fn put_words(low: __m512i, full: __mmask32, words: &mut [u16], start: &mut usize) {
    let room = words[..*start].last_chunk_mut::<LANES>().expect("an encoder has room for a row more");
    let count = full.count_ones() as usize;
    let first = _mm512_maskz_compress_epi16(full, low);
    // SAFETY: a mask has at most 32 bits, and from there on there are 32 words; the other reference is to 64 writable bytes.
    unsafe {
        let picks = _mm512_loadu_si512(TO_THE_END.as_ptr().add(count).cast());
        _mm512_storeu_si512(room.as_mut_ptr().cast(), _mm512_permutexvar_epi16(picks, first));
    }
    *start -= count;
}

/// From `n` on: where words come from so that the first `n` of them are the last.
static TO_THE_END: [u16; 2 * LANES] = {
    let mut picks = [0; 2 * LANES];
    let mut i = 0;
    while i < 2 * LANES {
        picks[i] = (i % LANES) as u16;
        i += 1;
    }
    picks
};

/// The token of each coder, twice.
static CODERS: [u8; 2 * LANES] = {
    let mut picks = [0; 2 * LANES];
    let mut lane = 0;
    while lane < LANES {
        (picks[2 * lane], picks[2 * lane + 1]) = (token_of(lane) as u8, token_of(lane) as u8);
        lane += 1;
    }
    picks
};

/// Four planes of 16 bytes to the words that these make up.
static BYTES_OF_WORDS: [u8; 64] = {
    let mut picks = [0; 64];
    let mut i = 0;
    while i < 64 {
        picks[i] = (i % 4 * 16 + i / 4) as u8;
        i += 1;
    }
    picks
};
