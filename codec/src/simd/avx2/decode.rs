//! rANS decoding: two tiles in lockstep, a row of each at a time.

use std::arch::x86_64::*;

use super::lanes::{byte_of_words, load, load_states, load_table, low_bytes, store, store_states};
use crate::Result;
use crate::model::{LaneTable, Model};
use crate::rows::{BLOCK_CHANNELS, Square, TileRows};
use crate::simd::decode::BlockModels;
use crate::tile::rans::{Decoder, LANES, Words};

/// See [`crate::simd::decode_block`].
pub(in crate::simd) fn decode_block(
    tiles: &mut [Decoder<'_>],
    models: &[BlockModels],
    rows: &mut [TileRows],
    block: usize,
) -> Result<()> {
    match (tiles, models, rows) {
        ([a, b], [models_a, models_b], [rows_a, rows_b]) => {
            for channel in 0..BLOCK_CHANNELS {
                match (models_a[channel], models_b[channel]) {
                    (Some(model_a), Some(model_b)) => {
                        decode_channel([a, b], [model_a, model_b], [rows_a, rows_b], [block, channel])?;
                    }
                    (Some(model), None) => decode_channel([a], [model], [rows_a], [block, channel])?,
                    (None, Some(model)) => decode_channel([b], [model], [rows_b], [block, channel])?,
                    (None, None) => {}
                }
            }
            Ok(())
        }
        (tiles, models, rows) => {
            for ((tile, models), rows) in tiles.iter_mut().zip(models).zip(rows) {
                for (channel, model) in models.iter().enumerate() {
                    if let Some(model) = model {
                        decode_channel([tile], [model], [rows], [block, channel])?;
                    }
                }
            }
            Ok(())
        }
    }
}

/// Decodes one channel of `N` tiles: whole rows here, a short one by the scalar path.
fn decode_channel<const N: usize>(
    mut tiles: [&mut Decoder<'_>; N],
    models: [&Model; N],
    mut rows: [&mut TileRows; N],
    [block, channel]: [usize; 2],
) -> Result<()> {
    let (num_tokens, whole_rows) = (rows[0].num_tokens(), rows[0].num_tokens() / LANES);
    let tables = models.map(Model::lanes);
    let squares = rows.each_mut().map(|rows| &mut rows.block_mut(block)[..whole_rows]);
    // SAFETY: the caller holds an `Isa` of AVX2.
    unsafe { decode_rows(tiles.each_mut().map(|tile| &mut **tile), tables, squares, channel) };
    for ((tile, model), rows) in tiles.into_iter().zip(models).zip(rows) {
        tile.check_words()?;
        if num_tokens % LANES != 0 {
            let row = rows.channel_mut(block * BLOCK_CHANNELS + channel).next_back().expect("a channel has rows");
            tile.row(model, row)?;
        }
    }
    Ok(())
}

/// Decodes the rows of a channel, until the words run out.
#[expect(clippy::needless_range_loop, reason = "tiles index several arrays in lockstep")]
#[target_feature(enable = "avx2,bmi1,bmi2,popcnt")]
fn decode_rows<const N: usize>(
    tiles: [&mut Decoder<'_>; N],
    tables: [&LaneTable; N],
    squares: [&mut [Square]; N],
    channel: usize,
) {
    let tiles = tiles.map(Decoder::parts_mut);
    let mut states = tiles.each_ref().map(|(states, _)| load_states(states));
    for row in 0..squares[0].len() {
        for i in 0..N {
            let (symbols, next) = decode_row(states[i], tables[i], tiles[i].1);
            states[i] = next;
            store(&mut squares[i][row][channel], symbols);
        }
    }
    for i in 0..N {
        store_states(tiles[i].0, states[i]);
    }
}

/// The symbols of a row, and the states after it.
#[inline]
#[target_feature(enable = "avx2,bmi1,bmi2,popcnt")]
fn decode_row(states: [__m256i; 4], table: &LaneTable, words: &mut Words<'_>) -> (__m256i, [__m256i; 4]) {
    const NO_WORDS: [[u8; 2]; LANES] = [[0; 2]; LANES];
    let slots = low_bytes(&states);
    let symbols = search(slots, table);
    let freqs = _mm256_shuffle_epi8(load_table(&table.freqs), symbols);
    let places = _mm256_sub_epi8(slots, _mm256_shuffle_epi8(load_table(&table.starts), symbols));
    let ahead = words.peek().unwrap_or(&NO_WORDS);
    let mut used = 0;
    let mut next = states;
    for g in 0..4 {
        let product = _mm256_mullo_epi32(_mm256_srli_epi32::<8>(states[g]), byte_of_words(freqs, g));
        let state = _mm256_add_epi32(product, byte_of_words(places, g));
        // The sign says whether the state is below 2^16.
        let below = _mm256_andnot_si256(state, _mm256_sub_epi32(state, _mm256_set1_epi32(1 << 16)));
        let mask = _mm256_movemask_ps(_mm256_castsi256_ps(below)) as usize & 0xff;
        debug_assert!(used <= 8 * g);
        // SAFETY: each of the `g` steps before used at most 8 of the 32 words.
        let eight = unsafe { _mm_loadu_si128(ahead.as_ptr().add(used).cast()) };
        let [of_words, of_state] = &REFILL.0[mask];
        let refill = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(eight), load(of_words));
        next[g] = _mm256_or_si256(refill, _mm256_shuffle_epi8(state, load(of_state)));
        used += mask.count_ones() as usize;
    }
    words.advance(used);
    (symbols, next)
}

/// The symbol whose slots each slot is among: the last one that starts at or before it.
#[inline]
#[target_feature(enable = "avx2")]
fn search(slots: __m256i, table: &LaneTable) -> __m256i {
    // Comparison is of signed bytes.
    let sign = _mm256_set1_epi8(i8::MIN);
    let slots = _mm256_xor_si256(slots, sign);
    let starts = _mm256_xor_si256(load_table(&table.starts), sign);
    let mut symbols = _mm256_setzero_si256();
    for half in [8, 4, 2, 1] {
        let candidates = _mm256_add_epi8(symbols, _mm256_set1_epi8(half));
        let beyond = _mm256_cmpgt_epi8(_mm256_shuffle_epi8(starts, candidates), slots);
        symbols = _mm256_blendv_epi8(candidates, symbols, beyond);
    }
    symbols
}

/// By the mask of states that refill: which byte of the next eight words each byte takes, and which of the states, that
/// move up by 16 bits where they refill.
#[repr(align(64))]
struct Refill([[[u8; 32]; 2]; 256]);

static REFILL: Refill = {
    const NOTHING: u8 = 0x80;
    let mut table = [[[NOTHING; 32]; 2]; 256];
    let mut mask = 0;
    while mask < 256 {
        let (mut word, mut k) = (0, 0);
        while k < 8 {
            let (at, from) = (4 * k, (4 * k % 16) as u8);
            if mask >> k & 1 == 1 {
                (table[mask][0][at], table[mask][0][at + 1]) = (2 * word, 2 * word + 1);
                (table[mask][1][at + 2], table[mask][1][at + 3]) = (from, from + 1);
                word += 1;
            } else {
                let mut byte = 0;
                while byte < 4 {
                    table[mask][1][at + byte] = from + byte as u8;
                    byte += 1;
                }
            }
            k += 1;
        }
        mask += 1;
    }
    Refill(table)
};
