//! rANS decoding: two tiles in lockstep, a row of each at a time.

use std::arch::asm;
use std::arch::x86_64::*;

use super::halves::{Halves, load_halves, store_halves};
use super::lanes::{kept, load, load_table, store_row};
use crate::Result;
use crate::model::{ESCAPE, RankTable};
use crate::rows::{BLOCK_CHANNELS, Square, TileRows};
use crate::simd::decode::{BlockModels, Escaped, TILES, decode_row as decode_short};
use crate::tile::rans::{AHEAD_ROWS, AHEAD_WORDS, Decoder, LANES, WORD_BYTES, token_of};

/// See [`crate::simd::decode_block`].
pub(in crate::simd) fn decode_block(
    tiles: &mut [Decoder<'_>],
    models: &[BlockModels],
    rows: &mut [TileRows],
    block: usize,
) -> Result<[Escaped; TILES]> {
    let mut tiles = tiles.iter_mut().zip(models).zip(rows).map(|((decoder, models), rows)| {
        // SAFETY: the caller holds an `Isa` of AVX-512.
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
    #[target_feature(enable = "avx512bw")]
    fn load(decoder: &mut Decoder<'_>) -> Self {
        let (states, words) = decoder.parts_mut();
        Self { states: load_halves(states), next_word: words.next_word() }
    }

    #[target_feature(enable = "avx512bw")]
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
#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,popcnt")]
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
#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,popcnt")]
fn decode_rows<const N: usize>(tiles: &mut [Tile<'_, '_>; N], channel: usize) {
    let mut states = tiles.each_ref().map(|tile| tile.coders.states);
    let models = tiles.each_ref().map(|tile| tile.models[channel].expect("it has a model"));
    let tables = Tables::load(models.map(|model| model.model.ranks()));
    let biases = models.map(|model| _mm256_set1_epi8(model.bias.cast_signed()));
    let mut escaped = [0; N];
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
            let ranks = unsafe { decode_row(&mut states, &tables, &ahead, &mut used) };
            let symbols = tables.symbols_of(ranks);
            for i in 0..N {
                escaped[i] |= _mm256_cmpeq_epi8_mask(symbols[i], _mm256_set1_epi8(ESCAPE.cast_signed()));
                store_row(&mut runs[i][row][channel], _mm256_add_epi8(symbols[i], biases[i]));
            }
        }
        for i in 0..N {
            tiles[i].coders.next_word += used[i];
        }
    }
    for i in 0..N {
        tiles[i].coders.states = states[i];
        tiles[i].escaped |= Escaped::from(escaped[i] != 0) << channel;
    }
}

/// The ranks of a row of each tile, where [`Tables::packed`] puts bytes of coders. Each step is taken for all tiles before the next
/// one, so that their chains of dependent instructions overlap.
///
/// # Safety
/// Of each tile there are 32 words ahead of those used.
#[inline]
#[target_feature(enable = "avx512vbmi,avx512vbmi2,popcnt")]
unsafe fn decode_row<const N: usize>(
    states: &mut [Halves; N],
    tables: &Tables<N>,
    ahead: &[&[[u8; WORD_BYTES]; AHEAD_WORDS]; N],
    used: &mut [usize; N],
) -> __m512i {
    let slots = tables.packed(states.map(|states| states.lower));
    let ranks = tables.ranks_of(slots);
    let freqs = tables.scaled_freqs(ranks);
    let places: [_; N] = unpacked(_mm512_sub_epi8(slots, tables.starts_of(ranks)));
    let mut added = [slots; N];
    for i in 0..N {
        added[i] = step(&mut states[i], freqs[i], places[i]);
    }
    for i in 0..N {
        // SAFETY: the caller's.
        let words = unsafe { _mm512_loadu_si512(ahead[i].as_ptr().add(used[i]).cast()) };
        used[i] = used[i].wrapping_add(refill(&mut states[i], added[i], words));
    }
    ranks
}

/// The bytes of each tile as words.
#[inline]
#[target_feature(enable = "avx512bw")]
fn unpacked<const N: usize>(bytes: __m512i) -> [__m512i; N] {
    let mut words = [_mm512_and_si512(bytes, _mm512_set1_epi16(0xff)); N];
    if let [_, second, ..] = &mut words[..] {
        *second = _mm512_srli_epi16::<8>(bytes);
    }
    words
}

/// The models of a channel in `N` tiles, in registers.
struct Tables<const N: usize> {
    groups: [__m512i; N],
    starts: [__m512i; N],
    freqs: [__m512i; N],
    /// Of the first tile in the lower half, of the second in the upper.
    symbols: __m512i,
    /// Every second byte.
    odd_bytes: __mmask64,
}

impl<const N: usize> Tables<N> {
    #[inline]
    #[target_feature(enable = "avx512bw")]
    fn load(models: [&RankTable; N]) -> Self {
        const { assert!(N == 1 || N == TILES && N == 2) };
        let symbols = models.map(|model| load_table(&model.symbols));
        Self {
            groups: models.map(|model| load(&model.groups)),
            starts: models.map(|model| load_table(&model.starts)),
            freqs: models.map(|model| load_table(&model.freqs)),
            symbols: _mm512_mask_blend_epi64(0xf0, symbols[0], symbols[N - 1]),
            odd_bytes: kept(0xaaaa_aaaa_aaaa_aaaa),
        }
    }

    /// The low bytes of the words of each tile, 32 coders in order: the first tile's in the even bytes, the second's in the
    /// odd ones. Without a second tile, these may be anything.
    #[inline]
    #[target_feature(enable = "avx512bw")]
    fn packed(&self, words: [__m512i; N]) -> __m512i {
        match words[..] {
            [first, second, ..] => _mm512_mask_mov_epi8(first, self.odd_bytes, _mm512_slli_epi16::<8>(second)),
            _ => words[0],
        }
    }

    /// The rank that each slot has: of the first slot of its group, and one more for each symbol that starts up to it.
    #[inline]
    #[target_feature(enable = "avx512vbmi")]
    fn ranks_of(&self, slots: __m512i) -> __m512i {
        // Bits from the next byte come in above, where the permutation does not look.
        let group = _mm512_srli_epi16::<2>(slots);
        let mut groups = _mm512_permutexvar_epi8(group, self.groups[0]);
        if let [_, second, ..] = self.groups[..] {
            groups = _mm512_mask_mov_epi8(groups, self.odd_bytes, _mm512_permutexvar_epi8(group, second));
        }
        let starts = _mm512_and_si512(groups, _mm512_permutexvar_epi8(slots, load(&UP_TO)));
        let first = _mm512_and_si512(_mm512_srli_epi16::<4>(groups), _mm512_set1_epi8(0x0f));
        _mm512_add_epi8(first, _mm512_shuffle_epi8(load_table(&ONES), starts))
    }

    /// The first slots of ranks.
    #[inline]
    #[target_feature(enable = "avx512bw")]
    fn starts_of(&self, ranks: __m512i) -> __m512i {
        let starts = _mm512_shuffle_epi8(self.starts[0], ranks);
        match self.starts[..] {
            [_, second, ..] => _mm512_mask_shuffle_epi8(starts, self.odd_bytes, second, ranks),
            _ => starts,
        }
    }

    /// The slots of ranks as words of each tile, times 2^8.
    #[inline]
    #[target_feature(enable = "avx512bw")]
    fn scaled_freqs(&self, ranks: __m512i) -> [__m512i; N] {
        let first = _mm512_maskz_shuffle_epi8(self.odd_bytes, self.freqs[0], _mm512_slli_epi16::<8>(ranks));
        let mut freqs = [first; N];
        if let ([_, freqs, ..], [_, second, ..]) = (&mut freqs[..], &self.freqs[..]) {
            *freqs = _mm512_maskz_shuffle_epi8(self.odd_bytes, *second, ranks);
        }
        freqs
    }

    /// The symbols of ranks, in the order of tokens.
    #[inline]
    #[target_feature(enable = "avx512vbmi")]
    fn symbols_of(&self, ranks: __m512i) -> [__m256i; 2] {
        let symbols = _mm512_shuffle_epi8(self.symbols, _mm512_permutexvar_epi8(load(&TOKENS), ranks));
        [_mm512_castsi512_si256(symbols), _mm512_extracti64x4_epi64::<1>(symbols)]
    }
}

/// Takes the states to `freq * (state >> 8) + place`, except that carries from the lower halves to the upper are left to
/// [`refill`], and gives what was added to the lower ones last. Frequencies are times 2^8, so that the upper half of a product
/// by the lower half of a state is that by its second byte alone.
#[inline]
#[target_feature(enable = "avx512bw")]
fn step(states: &mut Halves, freqs: __m512i, places: __m512i) -> __m512i {
    let second_byte = _mm512_andnot_si512(_mm512_set1_epi16(0xff), states.lower);
    let of_lower = _mm512_add_epi16(_mm512_mulhi_epu16(freqs, second_byte), places);
    states.lower = _mm512_add_epi16(_mm512_mullo_epi16(freqs, states.upper), of_lower);
    states.upper = _mm512_mulhi_epu16(freqs, states.upper);
    of_lower
}

/// Carries from the lower halves, which wrapped where they are below what was added last, and moves the states that are below
/// 2^16 up by one of the words each, in the order of coders. Says how many those are.
///
/// In assembly, because the compiler takes masks that it understands apart: it then moves them to and from general registers
/// in the middle of the chain of dependent instructions, and expands from memory, which is slow on Zen 4.
#[inline]
#[target_feature(enable = "avx512vbmi2,popcnt")]
fn refill(states: &mut Halves, added: __m512i, words: __m512i) -> usize {
    let below: u32;
    // SAFETY: these instructions of AVX-512 change nothing but the registers that are named.
    unsafe {
        asm!(
            "vpcmpuw {carries}, {lower}, {added}, 1",
            "vptestnmw {below}, {upper}, {upper}",
            "kandnd {below}, {carries}, {below}",
            "vpsubw {upper}{{{carries}}}, {upper}, {minus_one}",
            "vmovdqu16 {upper}{{{below}}}, {lower}",
            "vpexpandw {lower}{{{below}}}, {words}",
            "kmovd {mask:e}, {below}",
            carries = out(kreg) _,
            below = out(kreg) _,
            lower = inout(zmm_reg) states.lower,
            upper = inout(zmm_reg) states.upper,
            added = in(zmm_reg) added,
            minus_one = in(zmm_reg) _mm512_set1_epi16(-1),
            words = in(zmm_reg) words,
            mask = out(reg) below,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    below.count_ones() as usize
}

/// By slot modulo 2^6: the bits of a group of a [`RankTable`] for symbols that start up to it.
static UP_TO: [u8; 64] = {
    let mut bits = [0; 64];
    let mut slot = 0;
    while slot < 64 {
        bits[slot] = (1 << (slot % 4)) - 1;
        slot += 1;
    }
    bits
};

/// How many bits a number has.
static ONES: [u8; 16] = [0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4];

/// Where [`Tables::packed`] puts the byte of each token: the first tile's, then the second's.
static TOKENS: [u8; 2 * LANES] = {
    let mut picks = [0; 2 * LANES];
    let mut lane = 0;
    while lane < LANES {
        picks[token_of(lane)] = 2 * lane as u8;
        picks[LANES + token_of(lane)] = 2 * lane as u8 + 1;
        lane += 1;
    }
    picks
};
