//! The header of a container: description, free strings and the index of segments.
#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::cast_possible_truncation)
)]

use std::collections::BTreeMap;
use std::ops::Range;

use xxhash_rust::xxh3::Xxh3;

use super::Description;
use crate::cursor::Cursor;
use crate::{Dtype, Error, Geometry, Origin, Result, SegmentKey, Side};

const MAGIC: [u8; 4] = *b"KVDF";
/// Version of the container format that this build writes and reads.
const VERSION: u16 = 1;
/// Bytes before the free strings. The last eight are the checksum.
const FIXED_BYTES: usize = 64;
const CHECKED_BYTES: usize = 56;
/// Bytes of a segment's entry in the index.
const ENTRY_BYTES: usize = 16;
/// Largest header: every count and length in it fits 32 bits.
const MAX_BYTES: usize = u32::MAX as usize;
const GEOMETRY_FITS: &str = "geometry's limits fit 16 bits";
const CHECKED: &str = "a header's size is checked before its content is made";

/// A segment in the index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) chunk: usize,
    pub(super) key: SegmentKey,
    /// Its bytes, from the end of the header on.
    pub(super) range: Range<usize>,
}

/// Everything before the segments.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) description: Description,
    pub(super) entries: Vec<Entry>,
}

impl Header {
    /// Bytes of a header with as many entries, each of which is some chunk's.
    ///
    /// # Errors
    /// `Invalid` when a count or length would not fit its field.
    pub(super) fn encoded_bytes(description: &Description, num_entries: usize) -> Result<usize> {
        let strings: usize =
            description.origin.metadata.iter().map(|(name, value)| encoded_pair_bytes(name, value)).sum();
        let bytes = FIXED_BYTES.saturating_add(strings).saturating_add(num_entries.saturating_mul(ENTRY_BYTES));
        if bytes > MAX_BYTES {
            return Err(Error::Invalid(format!("a header of {bytes} bytes, the limit is {MAX_BYTES}")));
        }
        Ok(bytes)
    }

    /// The header's bytes.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let Description { geometry, num_tokens, chunk_tokens, origin } = &self.description;
        let strings = strings_bytes(&origin.metadata);
        let mut fixed = Vec::with_capacity(FIXED_BYTES);
        fixed.extend_from_slice(&MAGIC);
        fixed.extend_from_slice(&VERSION.to_le_bytes());
        fixed.extend_from_slice(&[geometry.dtype() as u8, 0]);
        for field in [geometry.num_layers(), geometry.num_kv_heads(), geometry.head_dim(), 0] {
            fixed.extend_from_slice(&u16::try_from(field).expect(GEOMETRY_FITS).to_le_bytes());
        }
        fixed.extend_from_slice(&(*num_tokens as u64).to_le_bytes());
        for field in [*chunk_tokens, origin.metadata.len()] {
            fixed.extend_from_slice(&u32::try_from(field).expect(CHECKED).to_le_bytes());
        }
        fixed.extend_from_slice(&origin.rope_theta.to_le_bytes());
        fixed.extend_from_slice(&origin.first_position.to_le_bytes());
        for field in [strings.len(), self.entries.len()] {
            fixed.extend_from_slice(&u32::try_from(field).expect(CHECKED).to_le_bytes());
        }
        let index: Vec<u8> = self.entries.iter().flat_map(entry_bytes).collect();
        let checksum = checksum(&[&fixed, &strings, &index]);
        [fixed.as_slice(), &checksum.to_le_bytes(), &strings, &index].concat()
    }
}

fn encoded_pair_bytes(name: &str, value: &str) -> usize {
    [name, value].map(|string| string.len().saturating_add(size_of::<u32>())).into_iter().fold(0, usize::saturating_add)
}

fn strings_bytes(strings: &BTreeMap<String, String>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for string in strings.iter().flat_map(|(name, value)| [name, value]) {
        bytes.extend_from_slice(&u32::try_from(string.len()).expect(CHECKED).to_le_bytes());
        bytes.extend_from_slice(string.as_bytes());
    }
    bytes
}

fn entry_bytes(entry: &Entry) -> Vec<u8> {
    let chunk = u32::try_from(entry.chunk).expect(CHECKED);
    let SegmentKey { quality, layer_group, side } = entry.key;
    let mut bytes = Vec::with_capacity(ENTRY_BYTES);
    bytes.extend_from_slice(&chunk.to_le_bytes());
    bytes.extend_from_slice(&[quality, side as u8]);
    bytes.extend_from_slice(&layer_group.to_le_bytes());
    bytes.extend_from_slice(&(entry.range.len() as u64).to_le_bytes());
    bytes
}

fn checksum(parts: &[&[u8]]) -> u64 {
    let mut hash = Xxh3::new();
    parts.iter().for_each(|part| hash.update(part));
    hash.digest()
}

/// Reads the header, and gives the segments' bytes after it.
pub(super) fn parse(bytes: &[u8]) -> Result<(Header, &[u8])> {
    let mut cursor = Cursor::new(bytes, 0);
    let mut fields = cursor.split(CHECKED_BYTES, "a container's header")?;
    let stored = cursor.u64("checksum")?;
    check_version(&mut fields)?;
    let mut lengths = Cursor::new(bytes, 0);
    lengths.take(CHECKED_BYTES.saturating_sub(8), "a container's header")?;
    let [strings_bytes, num_entries] = [lengths.u32("length of strings")?, lengths.u32("number of segments")?];
    let mut strings = cursor.split(strings_bytes as usize, "free strings")?;
    let mut index = cursor.split((num_entries as usize).saturating_mul(ENTRY_BYTES), "the index of segments")?;
    let fixed = Cursor::new(bytes, 0).take(CHECKED_BYTES, "a container's header")?;
    let computed = checksum(&[fixed, strings.clone().take_rest(), index.clone().take_rest()]);
    if stored != computed {
        return Err(Error::corrupt(CHECKED_BYTES, format!("checksum {stored:016x}, computed {computed:016x}")));
    }
    let description = read_description(&mut fields, &mut strings)?;
    let entries = read_index(&mut index, num_entries, description.num_chunks())?;
    let segments_bytes = entries.last().map_or(0, |entry| entry.range.end);
    if cursor.remaining() != segments_bytes {
        return Err(cursor.corrupt(format!("{} bytes of segments, listed are {segments_bytes}", cursor.remaining())));
    }
    Ok((Header { description, entries }, cursor.take_rest()))
}

fn check_version(fields: &mut Cursor<'_>) -> Result<()> {
    let magic = fields.array::<4>("magic")?;
    if magic != MAGIC {
        return Err(Error::corrupt(0, format!("magic {magic:02x?} where a container has {MAGIC:02x?}")));
    }
    match fields.u16("version")? {
        VERSION => Ok(()),
        version => Err(Error::Incompatible(format!("container version {version}: this build reads {VERSION}"))),
    }
}

fn read_description(fields: &mut Cursor<'_>, strings: &mut Cursor<'_>) -> Result<Description> {
    let [dtype, zero] = fields.array("dtype")?;
    let dtype = Dtype::from_code(dtype)
        .ok_or_else(|| Error::Incompatible(format!("dtype {dtype} is not known to this build")))?;
    let [num_layers, num_kv_heads, head_dim] =
        [fields.u16("layers")?, fields.u16("kv heads")?, fields.u16("head dimension")?].map(u32::from);
    let corrupt = |error: Error| Error::corrupt(0, error.to_string());
    let geometry = Geometry::new(num_layers, num_kv_heads, head_dim, dtype).map_err(corrupt)?;
    let reserved = fields.u16("reserved")?;
    if reserved != 0 || zero != 0 {
        return Err(fields.corrupt(format!("reserved fields are {zero}, {reserved}")));
    }
    let num_tokens = usize::try_from(fields.u64("number of tokens")?).unwrap_or(usize::MAX);
    let chunk_tokens = fields.u32("tokens of a chunk")? as usize;
    let num_strings = fields.u32("number of strings")?;
    let rope_theta = fields.f64("RoPE theta")?;
    let first_position = fields.u64("first position")?;
    let metadata = read_strings(strings, num_strings)?;
    let origin = Origin { rope_theta, first_position, metadata };
    let description = Description { geometry, num_tokens, chunk_tokens, origin };
    description.check().map_err(corrupt)?;
    Ok(description)
}

fn read_strings(strings: &mut Cursor<'_>, count: u32) -> Result<BTreeMap<String, String>> {
    let mut metadata = BTreeMap::new();
    for _ in 0..count {
        let (name, value) = (read_string(strings)?, read_string(strings)?);
        if let Some(first) = metadata.insert(name, value) {
            return Err(strings.corrupt(format!("the string before {first:?} comes twice")));
        }
    }
    strings.clone().finish_padding(1)?;
    Ok(metadata)
}

fn read_string(strings: &mut Cursor<'_>) -> Result<String> {
    let length = strings.u32("length of a string")? as usize;
    let offset = strings.offset();
    let bytes = strings.take(length, "a string")?;
    String::from_utf8(bytes.to_vec()).map_err(|error| Error::corrupt(offset, error.to_string()))
}

/// Reads the entries: those of a chunk after those of the chunk before, and some for each.
fn read_index(index: &mut Cursor<'_>, num_entries: u32, num_chunks: usize) -> Result<Vec<Entry>> {
    let (mut start, mut seen_chunks) = (0usize, 0usize);
    let mut entries = Vec::with_capacity(num_entries as usize);
    for _ in 0..num_entries {
        let chunk = index.u32("a segment's chunk")? as usize;
        let [quality, side] = index.array("a segment's key")?;
        let layer_group = index.u16("a segment's layer group")?;
        let length = usize::try_from(index.u64("a segment's length")?).unwrap_or(usize::MAX);
        let side = Side::BOTH.into_iter().find(|&known| known as u8 == side);
        let in_order = chunk == seen_chunks || chunk.checked_add(1) == Some(seen_chunks);
        let (Some(side), Some(end), true) = (side, start.checked_add(length), in_order) else {
            let reason = format!("side {side:?}, {length} bytes, chunk {chunk} after {seen_chunks} chunks");
            return Err(index.corrupt(reason));
        };
        entries.push(Entry { chunk, key: SegmentKey { quality, layer_group, side }, range: start..end });
        (start, seen_chunks) = (end, chunk.saturating_add(1));
    }
    if seen_chunks != num_chunks {
        return Err(index.corrupt(format!("segments of {seen_chunks} chunks, tokens make {num_chunks}")));
    }
    Ok(entries)
}
