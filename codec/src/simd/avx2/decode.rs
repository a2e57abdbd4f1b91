//! rANS decoding: two tiles in lockstep, a row of each at a time.

use std::arch::x86_64::*;

use super::lanes::{States, byte_of_words, load, load_states, load_table, low_bytes, store, store_states};
use crate::Result;
use crate::model::{ALPHABET, LaneTable, Model};
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
    let mut tiles = tiles.map(Decoder::parts_mut);
    let mut states = [[_mm256_setzero_si256(); 4]; N];
    for i in 0..N {
        states[i] = load_states(tiles[i].0);
    }
    for row in 0..squares[0].len() {
        let symbols = decode_row(&mut states, &tables, &mut tiles);
        for i in 0..N {
            store(&mut squares[i][row][channel], symbols[i]);
        }
    }
    for i in 0..N {
        store_states(tiles[i].0, states[i]);
    }
}

/// The symbols of a row of each tile. Each step is taken for all tiles before the next one, so that their chains of
/// dependent instructions overlap.
#[expect(clippy::needless_range_loop, reason = "tiles index several arrays in lockstep")]
#[inline]
#[target_feature(enable = "avx2,bmi1,bmi2,popcnt")]
fn decode_row<const N: usize>(
    states: &mut [States; N],
    tables: &[&LaneTable; N],
    tiles: &mut [(&mut [u32; LANES], &mut Words<'_>); N],
) -> [__m256i; N] {
    let zero = _mm256_setzero_si256();
    let mut slots = [zero; N];
    for i in 0..N {
        // Comparison is of signed bytes.
        slots[i] = _mm256_xor_si256(low_bytes(&states[i]), _mm256_set1_epi8(i8::MIN));
    }
    let symbols = search(slots, tables);
    let mut masks = [[0; 4]; N];
    for i in 0..N {
        let freqs = _mm256_shuffle_epi8(load_table(&tables[i].freqs), symbols[i]);
        let starts = _mm256_shuffle_epi8(load_table(&tables[i].starts), symbols[i]);
        let places = _mm256_sub_epi8(slots[i], _mm256_xor_si256(starts, _mm256_set1_epi8(i8::MIN)));
        for g in 0..4 {
            let product = _mm256_mullo_epi32(_mm256_srli_epi32::<8>(states[i][g]), byte_of_words(freqs, g));
            let state = _mm256_add_epi32(product, byte_of_words(places, g));
            // The sign says whether the state is below 2^16.
            let below = _mm256_andnot_si256(state, _mm256_sub_epi32(state, _mm256_set1_epi32(1 << 16)));
            masks[i][g] = _mm256_movemask_ps(_mm256_castsi256_ps(below)) as usize & 0xff;
            states[i][g] = state;
        }
    }
    for i in 0..N {
        refill(&mut states[i], masks[i], tiles[i].1);
    }
    symbols
}

/// Moves the states in the masks up by a word each.
#[inline]
#[target_feature(enable = "avx2,bmi1,bmi2,popcnt")]
fn refill(states: &mut States, masks: [usize; 4], words: &mut Words<'_>) {
    const NO_WORDS: [[u8; 2]; LANES] = [[0; 2]; LANES];
    let ahead = words.peek().unwrap_or(&NO_WORDS);
    let mut used = 0;
    for (g, mask) in masks.into_iter().enumerate() {
        debug_assert!(used <= 8 * g);
        // SAFETY: each of the `g` steps before used at most 8 of the 32 words.
        let eight = unsafe { _mm_loadu_si128(ahead.as_ptr().add(used).cast()) };
        let [of_words, of_state] = &REFILL.0[mask];
        let refill = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(eight), load(of_words));
        states[g] = _mm256_or_si256(refill, _mm256_shuffle_epi8(states[g], load(of_state)));
        used += mask.count_ones() as usize;
    }
    words.advance(used);
}

/// The symbol whose slots each slot is among: the last one that starts at or before it. The top bits of slots are inverted.
#[expect(clippy::needless_range_loop, reason = "tiles index several arrays in lockstep")]
#[inline]
#[target_feature(enable = "avx2")]
fn search<const N: usize>(slots: [__m256i; N], tables: &[&LaneTable; N]) -> [__m256i; N] {
    let mut nodes = [_mm256_set1_epi8(1); N];
    for _ in 0..ALPHABET.ilog2() {
        for i in 0..N {
            let keys = _mm256_shuffle_epi8(load_table(&tables[i].search_keys), nodes[i]);
            let right = _mm256_cmpgt_epi8(slots[i], keys);
            nodes[i] = _mm256_sub_epi8(_mm256_add_epi8(nodes[i], nodes[i]), right);
        }
    }
    for i in 0..N {
        nodes[i] = _mm256_sub_epi8(nodes[i], _mm256_set1_epi8(16));
    }
    nodes
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
