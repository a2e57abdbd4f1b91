//! rANS decoding: two tiles in lockstep, a row of each at a time.

use std::arch::x86_64::*;

use super::halves::{Halves, load_halves, store_halves, to_tokens};
use super::lanes::{load_table, store};
use crate::Result;
use crate::model::{ALPHABET, ESCAPE, LaneTable};
use crate::rows::{BLOCK_CHANNELS, Square, TileRows};
use crate::simd::decode::{BlockModels, Escaped, TILES, decode_row as decode_short};
use crate::tile::rans::{AHEAD_ROWS, AHEAD_WORDS, Decoder, LANES, WORD_BYTES};

/// See [`crate::simd::decode_block`].
pub(in crate::simd) fn decode_block(
    tiles: &mut [Decoder<'_>],
    models: &[BlockModels],
    rows: &mut [TileRows],
    block: usize,
) -> Result<[Escaped; TILES]> {
    let mut tiles = tiles.iter_mut().zip(models).zip(rows).map(|((decoder, models), rows)| {
        // SAFETY: the caller holds an `Isa` of AVX2.
        let coders = unsafe { Coders::load(decoder) };
        Tile { decoder, models, rows, block, coders, escaped: 0, tail: [[0; WORD_BYTES]; AHEAD_WORDS] }
    });
    // SAFETY: as above.
    match [tiles.next(), tiles.next()] {
        [Some(a), Some(b)] => unsafe { decode_channels([a, b]) },
        [Some(tile), _] => unsafe { decode_channels([tile]) },
        _ => Ok([0; TILES]),
    }
}

/// The coders of a tile while rows are decoded.
#[derive(Clone, Copy)]
struct Coders {
    states: Halves,
    next_word: usize,
}

impl Coders {
    #[target_feature(enable = "avx2")]
    fn load(decoder: &mut Decoder<'_>) -> Self {
        let (states, words) = decoder.parts_mut();
        Self { states: load_halves(states), next_word: words.next_word() }
    }

    #[target_feature(enable = "avx2")]
    fn store(self, decoder: &mut Decoder<'_>) {
        let (states, words) = decoder.parts_mut();
        store_halves(states, self.states);
        words.set_next_word(self.next_word);
    }
}

/// A block of channels of a tile.
struct Tile<'t, 'a> {
    decoder: &'t mut Decoder<'a>,
    models: &'t BlockModels,
    rows: &'t mut TileRows,
    /// Which block of the rows.
    block: usize,
    coders: Coders,
    escaped: Escaped,
    /// Room for the last words.
    tail: [[u8; WORD_BYTES]; AHEAD_WORDS],
}

/// Decodes the channels of `N` tiles: whole rows here, short ones by the scalar path.
#[target_feature(enable = "avx2,bmi1,bmi2,popcnt")]
fn decode_channels<const N: usize>(mut tiles: [Tile<'_, '_>; N]) -> Result<[Escaped; TILES]> {
    for channel in 0..BLOCK_CHANNELS {
        let mut models = [None; N];
        for (model, tile) in models.iter_mut().zip(&tiles) {
            *model = tile.models[channel];
        }
        if models.iter().all(Option::is_some) {
            decode_rows(&mut tiles, channel);
        } else {
            for (tile, _) in tiles.iter_mut().zip(models).filter(|(_, model)| model.is_some()) {
                decode_rows(std::array::from_mut(tile), channel);
            }
        }
        if !tiles[0].rows.num_tokens().is_multiple_of(LANES) {
            for (tile, model) in tiles.iter_mut().zip(models) {
                let Some(model) = model else { continue };
                tile.coders.store(tile.decoder);
                let mut rows = tile.rows.channel_mut(tile.block * BLOCK_CHANNELS + channel);
                let escaped = decode_short(tile.decoder, model, rows.next_back().expect("a channel has rows"))?;
                tile.escaped |= Escaped::from(escaped) << channel;
                tile.coders = Coders::load(tile.decoder);
            }
        }
    }
    let mut escaped = [0; TILES];
    for (tile, escaped) in tiles.into_iter().zip(&mut escaped) {
        tile.coders.store(tile.decoder);
        tile.decoder.check_words()?;
        *escaped = tile.escaped;
    }
    Ok(escaped)
}

/// Decodes the whole rows of a channel that has a model in each tile. Where words run out, zeros take their place.
#[expect(clippy::needless_range_loop, reason = "tiles index several arrays in lockstep")]
#[inline]
#[target_feature(enable = "avx2,bmi1,bmi2,popcnt")]
fn decode_rows<const N: usize>(tiles: &mut [Tile<'_, '_>; N], channel: usize) {
    let mut states = tiles.each_ref().map(|tile| tile.coders.states);
    let models = tiles.each_ref().map(|tile| tile.models[channel].expect("it has a model"));
    let tables = models.map(|model| model.model.lanes());
    // The search adds 16.
    let biases = models.map(|model| _mm256_set1_epi8(model.bias.wrapping_sub(16).cast_signed()));
    let mut escaped = [_mm256_setzero_si256(); N];
    let num_rows = tiles[0].rows.num_tokens() / LANES;
    for first_row in (0..num_rows).step_by(AHEAD_ROWS) {
        let num_rows = (num_rows - first_row).min(AHEAD_ROWS);
        let mut ahead = [&[[0; WORD_BYTES]; AHEAD_WORDS]; N];
        let mut runs = [(); N].map(|()| <&mut [Square]>::default());
        for (i, tile) in tiles.iter_mut().enumerate() {
            ahead[i] = tile.decoder.words().ahead(tile.coders.next_word, &mut tile.tail);
            runs[i] = &mut tile.rows.block_mut(tile.block)[first_row..][..num_rows];
        }
        let mut used = [0; N];
        for row in 0..num_rows {
            // SAFETY: there are words ahead for this many rows.
            let symbols = unsafe { decode_row(&mut states, &tables, &ahead, &mut used) };
            for i in 0..N {
                let is_escape = _mm256_cmpeq_epi8(symbols[i], _mm256_set1_epi8(16 + ESCAPE.cast_signed()));
                escaped[i] = _mm256_or_si256(escaped[i], is_escape);
                store(&mut runs[i][row][channel], to_tokens(_mm256_add_epi8(symbols[i], biases[i])));
            }
        }
        for i in 0..N {
            tiles[i].coders.next_word += used[i];
        }
    }
    for i in 0..N {
        tiles[i].coders.states = states[i];
        tiles[i].escaped |= Escaped::from(_mm256_movemask_epi8(escaped[i]) != 0) << channel;
    }
}

/// The symbols of a row of each tile, in the order of coders. Each step is taken for all tiles before the next one, so
/// that their chains of dependent instructions overlap.
#[inline]
#[target_feature(enable = "avx2,bmi1,bmi2,popcnt")]
unsafe fn decode_row<const N: usize>(
    states: &mut [Halves; N],
    tables: &[&LaneTable; N],
    ahead: &[&[[u8; WORD_BYTES]; AHEAD_WORDS]; N],
    used: &mut [usize; N],
) -> [__m256i; N] {
    let mut slots = [_mm256_setzero_si256(); N];
    for i in 0..N {
        let [even, odd] = states[i].lower;
        let low = _mm256_blendv_epi8(_mm256_slli_epi16::<8>(odd), even, _mm256_set1_epi16(0xff));
        // Comparison is of signed bytes.
        slots[i] = _mm256_xor_si256(low, _mm256_set1_epi8(i8::MIN));
    }
    let symbols = search(slots, tables);
    let mut below = [[_mm256_setzero_si256(); 2]; N];
    for i in 0..N {
        let freqs = _mm256_shuffle_epi8(load_table(&tables[i].freqs), symbols[i]);
        let starts = _mm256_shuffle_epi8(load_table(&tables[i].biased_starts), symbols[i]);
        below[i] = step(&mut states[i], freqs, _mm256_sub_epi8(slots[i], starts));
    }
    for i in 0..N {
        // SAFETY: the caller's.
        let now_used = unsafe { refill(&mut states[i], below[i], ahead[i].as_ptr().add(used[i])) };
        used[i] += now_used;
    }
    symbols
}

/// The symbol whose slots each slot is among: the last one that starts at or before it. The top bits of slots are inverted,
/// and 16 is added to symbols.
#[inline]
#[target_feature(enable = "avx2")]
fn search<const N: usize>(slots: [__m256i; N], tables: &[&LaneTable; N]) -> [__m256i; N] {
    let mut nodes = [_mm256_setzero_si256(); N];
    for i in 0..N {
        let root = _mm256_set1_epi8(tables[i].search_keys[1].cast_signed());
        nodes[i] = _mm256_sub_epi8(_mm256_set1_epi8(2), _mm256_cmpgt_epi8(slots[i], root));
    }
    for _ in 1..ALPHABET.ilog2() {
        for i in 0..N {
            let keys = _mm256_shuffle_epi8(load_table(&tables[i].search_keys), nodes[i]);
            let right = _mm256_cmpgt_epi8(slots[i], keys);
            nodes[i] = _mm256_sub_epi8(_mm256_add_epi8(nodes[i], nodes[i]), right);
        }
    }
    nodes
}

/// Takes the states to `freq * (state >> 8) + place`, and gives masks of those that are below 2^16.
#[inline]
#[target_feature(enable = "avx2")]
fn step(states: &mut Halves, freqs: __m256i, places: __m256i) -> [__m256i; 2] {
    let low_byte = _mm256_set1_epi16(0xff);
    // Times 2^8, so that the upper half of a product by the lower half of a state is that by its second byte alone.
    let freqs = [_mm256_slli_epi16::<8>(freqs), _mm256_andnot_si256(low_byte, freqs)];
    let places = [_mm256_and_si256(places, low_byte), _mm256_srli_epi16::<8>(places)];
    let mut below = [_mm256_setzero_si256(); 2];
    for i in 0..2 {
        let (upper, second_byte) = (states.upper[i], _mm256_andnot_si256(low_byte, states.lower[i]));
        let of_lower = _mm256_add_epi16(_mm256_mulhi_epu16(freqs[i], second_byte), places[i]);
        let lower = _mm256_add_epi16(_mm256_mullo_epi16(freqs[i], upper), of_lower);
        // What was added is above the sum where that wrapped.
        let carry = _mm256_min_epu16(_mm256_subs_epu16(of_lower, lower), _mm256_set1_epi16(1));
        states.upper[i] = _mm256_add_epi16(_mm256_mulhi_epu16(freqs[i], upper), carry);
        states.lower[i] = lower;
        below[i] = _mm256_cmpeq_epi16(states.upper[i], _mm256_setzero_si256());
    }
    below
}

/// Moves the states in the masks up by a word each, in the order of coders, and says how many those are.
///
/// # Safety
/// `ahead` is 32 readable words.
#[inline]
#[target_feature(enable = "avx2,bmi1,bmi2,popcnt")]
unsafe fn refill(states: &mut Halves, below: [__m256i; 2], ahead: *const [u8; WORD_BYTES]) -> usize {
    let mask = _mm256_movemask_epi8(_mm256_packs_epi16(below[0], below[1])).cast_unsigned();
    let masks = [mask & 0xff, mask >> 16 & 0xff, mask >> 8 & 0xff, mask >> 24];
    let mut eights = [_mm_setzero_si128(); 4];
    let mut used = 0;
    for (g, mask) in masks.into_iter().enumerate() {
        // SAFETY: each of the `g` steps before used at most 8 of the 32 words; entries are of 16 readable bytes.
        eights[g] = unsafe {
            let eight = _mm_loadu_si128(ahead.add(used).cast());
            _mm_shuffle_epi8(eight, _mm_load_si128(REFILL.0[mask as usize].as_ptr().cast()))
        };
        used += mask.count_ones() as usize;
    }
    for i in 0..2 {
        let refill = _mm256_set_m128i(eights[2 * i + 1], eights[2 * i]);
        let Halves { upper, lower } = states;
        upper[i] = _mm256_blendv_epi8(upper[i], lower[i], below[i]);
        lower[i] = _mm256_blendv_epi8(lower[i], refill, below[i]);
    }
    used
}

/// By the mask of eight states that refill: which bytes of the next eight words each of them takes.
#[repr(align(64))]
struct Refill([[u8; 16]; 256]);

static REFILL: Refill = {
    const NOTHING: u8 = 0x80;
    let mut table = [[NOTHING; 16]; 256];
    let mut mask = 0;
    while mask < 256 {
        let (mut word, mut k) = (0, 0);
        while k < 8 {
            if mask >> k & 1 == 1 {
                (table[mask][2 * k], table[mask][2 * k + 1]) = (2 * word, 2 * word + 1);
                word += 1;
            }
            k += 1;
        }
        mask += 1;
    }
    Refill(table)
};
