//! Files of whole contexts: forged ones are an error or chunks.

use kvdepot_codec::container::Container;
use kvdepot_codec::dump::KvDump;
use kvdepot_codec::{Codec, ErrorKind, Isa, KvChunk};
use xxhash_rust::xxh3::Xxh3;

use super::forge::{seal, u32_at, u64_at};

/// Bytes of a container's header before the free strings.
const FIXED_BYTES: usize = 64;
/// Bytes of an entry of a container's index; the last eight are a segment's length.
const ENTRY_BYTES: usize = 16;
/// Chunks of a file that are decoded.
const MAX_CHUNKS: usize = 3;

/// Parses a container and decodes its chunks; its checksum and those of its segments are made to fit.
pub fn container(input: &[u8]) {
    let mut bytes = input.to_vec();
    seal_container(&mut bytes);
    let Ok(container) = Container::parse(&bytes) else { return };
    let description = container.description();
    for chunk in 0..description.num_chunks().min(MAX_CHUNKS) {
        let decoded = container.chunk(chunk);
        let segments = container.segments(chunk).map(|(_, bytes)| bytes);
        let num_tokens = description.tokens_of(chunk).len();
        let scalar = Codec::on(Isa::SCALAR).decode(description.geometry, num_tokens, segments);
        match (decoded, scalar) {
            (Ok(decoded), Ok(scalar)) => assert!(decoded == scalar, "elements differ"),
            (Err(error), Err(scalar)) => assert_eq!(error.kind(), scalar.kind(), "{error}, not {scalar}"),
            (decoded, scalar) => panic!("{:?}, not {:?}", decoded.err(), scalar.err()),
        }
    }
    assert_eq!(container.chunk(description.num_chunks()).unwrap_err().kind(), ErrorKind::Invalid);
}

fn seal_container(bytes: &mut [u8]) {
    if bytes.len() < FIXED_BYTES {
        return;
    }
    let [strings_bytes, num_entries] = [48, 52].map(|at| u32_at(bytes, at) as usize);
    let index = FIXED_BYTES + strings_bytes;
    let segments = index + num_entries * ENTRY_BYTES;
    let Some(mut room) = bytes.len().checked_sub(segments) else { return };
    for entry in 0..num_entries {
        let at = index + entry * ENTRY_BYTES + 8;
        let stated = usize::try_from(u64_at(bytes, at)).unwrap_or(usize::MAX);
        let length = if entry + 1 == num_entries { room } else { stated.min(room) };
        bytes[at..at + 8].copy_from_slice(&(length as u64).to_le_bytes());
        let start = bytes.len() - room;
        seal(&mut bytes[start..start + length]);
        room -= length;
    }
    let mut hash = Xxh3::new();
    hash.update(&bytes[..56]);
    hash.update(&bytes[FIXED_BYTES..segments]);
    bytes[56..64].copy_from_slice(&hash.digest().to_le_bytes());
}

/// Parses a dump and cuts chunks of it.
pub fn dump(input: &[u8]) {
    let mut bytes = input.to_vec();
    state_header_length(&mut bytes);
    let Ok(dump) = KvDump::parse(&bytes) else { return };
    let num_tokens = dump.num_tokens();
    let cuts = [(0, num_tokens.min(KvChunk::MAX_TOKENS)), (num_tokens / 2, 1), (num_tokens - 1, 1)];
    for (start, count) in cuts {
        let chunk = dump.chunk(start, count).expect("the tokens are there");
        assert_eq!((chunk.geometry(), chunk.num_tokens()), (dump.geometry(), count));
    }
    assert_eq!(dump.chunk(num_tokens, 1).unwrap_err().kind(), ErrorKind::Invalid);
    assert!(dump.rope_theta().is_finite());
}

/// Makes the length of a safetensors header, the first eight bytes, end behind the last brace, where it ends elsewhere.
fn state_header_length(bytes: &mut [u8]) {
    let Some((length, rest)) = bytes.split_first_chunk_mut::<8>() else { return };
    let stated = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX);
    let ends_well = stated.checked_sub(1).and_then(|last| rest.get(last)).is_some_and(|byte| b"} ".contains(byte));
    if let (false, Some(last)) = (ends_well, rest.iter().rposition(|&byte| byte == b'}')) {
        *length = (last as u64 + 1).to_le_bytes();
    }
}
