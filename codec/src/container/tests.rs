use std::io::Cursor;

use proptest::prelude::*;

use super::*;
use crate::{Dtype, EncodeOptions, ErrorKind, Level, Segment, encode};

const OPTIONS: EncodeOptions = EncodeOptions::new(Level::Q0);

fn description(num_tokens: usize) -> Description {
    let geometry = Geometry::new(2, 1, 4, Dtype::Bf16).unwrap();
    let metadata = [("tokens".to_owned(), "5 6 7".to_owned()), (String::new(), "größer".to_owned())].into();
    let origin = Origin { rope_theta: 50_000.0, first_position: 3, metadata };
    Description { geometry, num_tokens, chunk_tokens: 32, origin }
}

/// A chunk whose elements tell their places.
fn chunk(description: &Description, idx: usize) -> KvChunk {
    let num_tokens = description.tokens_of(idx).len();
    let num_bytes = description.geometry.kv_bytes(num_tokens);
    let bytes = (0..num_bytes).map(|place| (place * 31 + idx) as u8).collect();
    KvChunk::from_bytes(description.geometry, num_tokens, bytes).unwrap()
}

fn segments(description: &Description, idx: usize) -> Vec<Segment> {
    encode(&chunk(description, idx), &OPTIONS).unwrap()
}

fn write(description: &Description) -> Vec<u8> {
    let mut writer = Writer::new(Cursor::new(Vec::new()), description.clone(), 4).unwrap();
    (0..description.num_chunks()).for_each(|idx| writer.push(&segments(description, idx)).unwrap());
    writer.finish().unwrap().into_inner()
}

#[test]
fn a_container_gives_back_what_was_written() {
    for num_tokens in [1, 32, 33, 100] {
        let description = description(num_tokens);
        let bytes = write(&description);
        let container = Container::parse(&bytes).unwrap();
        assert_eq!(container.description(), &description);
        for idx in 0..description.num_chunks() {
            assert_eq!(container.chunk(idx).unwrap(), chunk(&description, idx));
            let written: Vec<_> = segments(&description, idx);
            let read: Vec<_> =
                container.segments(idx).map(|(key, bytes)| Segment { key, bytes: bytes.to_vec() }).collect();
            assert_eq!(read, written);
        }
    }
}

#[test]
fn every_truncation_is_corrupt() {
    let bytes = write(&description(40));
    for length in 0..bytes.len() {
        assert_eq!(Container::parse(&bytes[..length]).unwrap_err().kind(), ErrorKind::Corrupt, "{length}");
    }
}

#[test]
fn every_bit_flip_is_an_error_at_the_latest_when_decoded() {
    let description = description(40);
    let mut bytes = write(&description);
    let decodes = |bytes: &[u8]| {
        Container::parse(bytes)
            .and_then(|container| (0..description.num_chunks()).try_for_each(|idx| container.chunk(idx).map(|_| ())))
    };
    assert!(decodes(&bytes).is_ok());
    for bit in 0..8 * bytes.len() {
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(decodes(&bytes).is_err(), "bit {bit}");
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
}

#[test]
fn an_unknown_version_is_incompatible() {
    let mut bytes = write(&description(40));
    bytes[4] = 2;
    let error = Container::parse(&bytes).unwrap_err();
    assert_eq!((error.kind(), error.to_string().contains("version 2")), (ErrorKind::Incompatible, true));
}

#[test]
fn an_unfinished_container_does_not_parse() {
    let description = description(40);
    let mut out = Cursor::new(Vec::new());
    Writer::new(&mut out, description.clone(), 4).unwrap().push(&segments(&description, 0)).unwrap();
    assert_eq!(Container::parse(out.get_ref()).unwrap_err().kind(), ErrorKind::Corrupt);
}

#[test]
fn missing_surplus_and_incomplete_chunks_are_refused() {
    let description = description(40);
    let writer = || Writer::new(Cursor::new(Vec::new()), description.clone(), 4).unwrap();
    assert!(writer().finish().is_err());
    assert!(writer().push(&segments(&description, 0)[..3]).is_err());
    let mut writer = writer();
    (0..2).for_each(|idx| writer.push(&segments(&description, idx)).unwrap());
    assert!(writer.push(&segments(&description, 1)).is_err());
}

#[test]
fn impossible_descriptions_are_refused() {
    let start = |description, per_chunk| Writer::new(Cursor::new(Vec::new()), description, per_chunk).is_err();
    assert!(start(description(0), 4));
    assert!(start(Description { chunk_tokens: 0, ..description(40) }, 4));
    assert!(start(Description { chunk_tokens: KvChunk::MAX_TOKENS + 1, ..description(40) }, 4));
    assert!(start(description(40), 0));
    assert!(start(description(usize::MAX), 4));
}

#[test]
fn a_chunk_beyond_the_last_is_invalid() {
    let bytes = write(&description(40));
    assert_eq!(Container::parse(&bytes).unwrap().chunk(2).unwrap_err().kind(), ErrorKind::Invalid);
}

proptest! {
    /// Behind a checksum that fits, changes of the header may give another container, but no panic.
    #[test]
    fn forged_headers_never_panic(changes in prop::collection::vec((0usize..300, any::<u8>()), 1..6)) {
        let mut bytes = write(&description(40));
        for (place, value) in changes {
            bytes[place] = value;
        }
        let header_bytes = Header::encoded_bytes(&description(40), 8).unwrap();
        let mut hash = xxhash_rust::xxh3::Xxh3::new();
        hash.update(&bytes[..56]);
        hash.update(&bytes[64..header_bytes]);
        bytes[56..64].copy_from_slice(&hash.digest().to_le_bytes());
        if let Ok(container) = Container::parse(&bytes) {
            for idx in 0..container.description().num_chunks() {
                prop_assert!(container.segments(idx).count() > 0);
            }
        }
    }
}
