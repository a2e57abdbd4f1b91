//! Changed bytes made to look like what an encoder wrote: sealed, and with headers that parse.

use kvdepot_codec::{Level, Side};
use xxhash_rust::xxh3::Xxh3;

/// Bytes of a segment's header.
pub const HEADER_BYTES: usize = 96;
/// First bytes of a segment.
pub const MAGIC: &[u8; 4] = b"KVDS";

const VERSION: u16 = 2;
const MODEL_SET: u8 = 2;
/// Largest shape, for speed: more than one block of channels, one group of tiles and two rows.
const MAX_LAYERS: u16 = 2;
const MAX_KV_HEADS: u16 = 3;
const MAX_HEAD_DIM: u16 = 72;
const MAX_TOKENS: u16 = 100;

/// Makes magic, version, length and checksum of a segment fit. Shorter ones than a header stay as they are.
pub fn seal(bytes: &mut [u8]) {
    if bytes.len() < HEADER_BYTES {
        return;
    }
    bytes[..4].copy_from_slice(MAGIC);
    put_u16(bytes, 4, VERSION);
    let length = bytes.len() as u64;
    bytes[80..88].copy_from_slice(&length.to_le_bytes());
    let mut hash = Xxh3::new();
    hash.update(&bytes[..88]);
    hash.update(&bytes[HEADER_BYTES..]);
    bytes[88..96].copy_from_slice(&hash.digest().to_le_bytes());
}

/// Whether a header is to be left as it is; the reserved field says so, which is 0 in all segments.
pub fn wants_raw_header(bytes: &mut [u8]) -> bool {
    let raw = bytes[26] != 0;
    // What is 1 was changed only to say so.
    bytes[26] -= u8::from(bytes[26] == 1);
    raw
}

/// Brings all fields of a segment's header into their ranges, and leaves those of encoders as they are.
pub fn make_header_plausible(bytes: &mut [u8]) {
    bytes[6] %= 4;
    let level = Level::from_code(bytes[6]).expect("four levels");
    bytes[8] %= 2;
    let side = Side::BOTH[usize::from(bytes[8])];
    bytes[7] %= level.qualities(side);
    bytes[9] = 1 + bytes[9].wrapping_sub(1) % 3;
    bytes[10] = MODEL_SET;
    for (at, max) in [(12, MAX_LAYERS), (14, MAX_KV_HEADS), (16, MAX_HEAD_DIM), (18, MAX_TOKENS)] {
        within(bytes, at, 1, max);
    }
    let num_layers = u16_at(bytes, 12);
    within(bytes, 22, 0, num_layers - 1);
    within(bytes, 24, 1, num_layers - u16_at(bytes, 22));
    put_u16(bytes, 26, 0);
    // No profile; and a changed layer below is refined all the same.
    bytes[32..40].fill(0);
    if level.needs_rope() && side == Side::K {
        bytes[11] = 1 + bytes[11].wrapping_sub(1) % 2;
        number_or(bytes, 40, 1.0, 10_000.0);
    } else {
        bytes[11] = 0;
        bytes[40..56].fill(0);
    }
    [56, 64, 72].into_iter().for_each(|at| number_or(bytes, at, 0.0, 0.0));
}

/// Cuts the lengths of tiles to what is there; the last tile takes what is left.
pub fn make_index_plausible(bytes: &mut [u8]) {
    let num_tiles = usize::from(u16_at(bytes, 14)) * usize::from(u16_at(bytes, 24));
    let preamble_bytes = u32_at(bytes, 28) as usize;
    let Some(mut room) = bytes.len().checked_sub(HEADER_BYTES + 4 * num_tiles + preamble_bytes) else { return };
    for tile in 0..num_tiles {
        let at = HEADER_BYTES + 4 * tile;
        let stated = u32_at(bytes, at) as usize;
        let length = if tile + 1 == num_tiles { room } else { stated.min(room) };
        bytes[at..at + 4].copy_from_slice(&(length as u32).to_le_bytes());
        room -= length;
    }
}

/// Brings a field of 16 bits into a range, by its remainder.
fn within(bytes: &mut [u8], at: usize, least: u16, most: u16) {
    let value = least + u16_at(bytes, at).wrapping_sub(least) % (most - least + 1);
    put_u16(bytes, at, value);
}

/// Puts `other` in the place of an `f64` that is not finite or less than `least`.
fn number_or(bytes: &mut [u8], at: usize, least: f64, other: f64) {
    let field: &mut [u8; 8] = bytes[at..].first_chunk_mut().expect("a header holds the field");
    let number = f64::from_le_bytes(*field);
    if !(number.is_finite() && number >= least) {
        *field = other.to_le_bytes();
    }
}

pub fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(*bytes[at..].first_chunk().expect("the field is there"))
}

pub fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(*bytes[at..].first_chunk().expect("the field is there"))
}

pub fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(*bytes[at..].first_chunk().expect("the field is there"))
}

fn put_u16(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
}
