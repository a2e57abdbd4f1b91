//! Segments: forged ones are an error or elements, and the same on every instruction set.

use kvdepot_codec::{
    Codec, Error, ErrorKind, Geometry, Isa, KvChunk, Result, SegmentHeader, error_bound, metadata_bytes, verify,
};

use super::forge::{HEADER_BYTES, MAGIC, make_header_plausible, make_index_plausible, seal, u16_at, wants_raw_header};

/// Largest chunk that is decoded into.
const MAX_KV_BYTES: usize = 1 << 20;
/// Quality layers of keys at Q3.
const MAX_LAYERS: usize = 3;

/// Decodes a segment behind a checksum that fits.
pub fn decode_segment(input: &[u8]) {
    if input.len() < HEADER_BYTES {
        assert!(verify(input).is_err());
        return;
    }
    let mut bytes = input.to_vec();
    if !wants_raw_header(&mut bytes) {
        make_header_plausible(&mut bytes);
        make_index_plausible(&mut bytes);
    }
    seal(&mut bytes);
    check_same_on_every_isa(&[&bytes]);
    check_bound(&bytes);
}

/// Decodes quality layers of one layer group together, each behind a checksum that fits: those that begin wherever the
/// magic is in the input.
pub fn decode_layers(input: &[u8]) {
    let mut layers = cut(input);
    let Some((base, above)) = layers.split_first_mut() else { return };
    base[6] = 3;
    base[7] = 0;
    make_header_plausible(base);
    make_index_plausible(base);
    for (quality, layer) in (1..).zip(above) {
        if !wants_raw_header(layer) {
            make_header_plausible(layer);
            // Everything that must agree: all but the quality layer and the length of the preamble.
            [6..7, 8..28, 32..56].into_iter().for_each(|range| layer[range.clone()].copy_from_slice(&base[range]));
            layer[7] = quality;
            make_index_plausible(layer);
        }
    }
    layers.iter_mut().for_each(|layer| seal(layer));
    let layers: Vec<&[u8]> = layers.iter().map(Vec::as_slice).collect();
    for count in 1..=layers.len() {
        check_same_on_every_isa(&layers[..count]);
    }
}

/// The parts of an input that begin with the magic and are long enough for a header, but no more than there are layers.
fn cut(input: &[u8]) -> Vec<Vec<u8>> {
    let mut starts: Vec<usize> =
        input.windows(4).enumerate().filter(|(_, four)| four == MAGIC).map(|at| at.0).collect();
    starts.push(input.len());
    let parts = starts.windows(2).map(|ends| input[ends[0]..ends[1]].to_vec());
    parts.filter(|part| part.len() >= HEADER_BYTES).take(MAX_LAYERS).collect()
}

fn check_same_on_every_isa(layers: &[&[u8]]) {
    let header = match verify(layers[0]) {
        Ok(header) => header,
        Err(error) => return check_refused(layers[0], &error),
    };
    check_metadata(layers);
    let (geometry, num_tokens) = (*header.geometry(), header.num_tokens());
    if geometry.kv_bytes(num_tokens) > MAX_KV_BYTES {
        let tiny = Geometry::new(1, 1, 1, geometry.dtype()).expect("a small geometry");
        assert!(decode_on(Isa::SCALAR, layers, KvChunk::zeroed(tiny, 1).expect("a token")).0.is_err());
        return;
    }
    let into = KvChunk::zeroed(geometry, num_tokens).expect("a header is within the limits");
    let (expected, elements) = decode_on(Isa::SCALAR, layers, into.clone());
    for isa in Isa::available().into_iter().filter(|&isa| isa != Isa::SCALAR) {
        let (decoded, decoded_elements) = decode_on(isa, layers, into.clone());
        match (&expected, decoded) {
            (Ok(expected), Ok(decoded)) => {
                assert_eq!(decoded, *expected);
                assert!(decoded_elements == elements, "elements of {isa} differ");
            }
            (Err(expected), Err(error)) => assert_eq!(error.kind(), expected.kind(), "{error}, not {expected}"),
            (expected, decoded) => panic!("{isa}: {decoded:?}, not {expected:?}"),
        }
    }
}

fn decode_on(isa: Isa, layers: &[&[u8]], mut into: KvChunk) -> (Result<SegmentHeader>, KvChunk) {
    (Codec::on(isa).decode_layers(layers, &mut into), into)
}

/// A header that is refused is refused before a checksum is computed, too.
fn check_refused(bytes: &[u8], error: &Error) {
    assert_ne!(error.kind(), ErrorKind::Invalid, "{error}");
    let parsed = SegmentHeader::parse(bytes).unwrap_err();
    assert_eq!(parsed.kind(), error.kind(), "{parsed}, not {error}");
}

fn check_metadata(layers: &[&[u8]]) {
    if let Ok(bytes) = metadata_bytes(layers) {
        let all: usize = layers.iter().map(|layer| layer.len()).sum();
        assert!((HEADER_BYTES..=all).contains(&bytes), "{bytes} bytes of metadata in {all}");
    }
}

fn check_bound(bytes: &[u8]) {
    if let Ok(Some(bound)) = error_bound(bytes) {
        assert!(bound.is_finite() && bound >= 0.0, "bound {bound} at level {}", u16_at(bytes, 6) & 0xff);
    }
}
