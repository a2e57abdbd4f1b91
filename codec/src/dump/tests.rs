use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::{ErrorKind, Rope, RopeScaling};

fn chunk(dtype: Dtype, num_tokens: usize, seed: usize) -> KvChunk {
    let geometry = Geometry::new(2, 2, 4, dtype).unwrap();
    let bytes = (0..geometry.kv_bytes(num_tokens)).map(|place| (place * 131 + seed) as u8).collect();
    KvChunk::from_bytes(geometry, num_tokens, bytes).unwrap()
}

fn origin() -> Origin {
    let scaling =
        RopeScaling::Llama3 { factor: 8.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_context: 8192.0 };
    let mut origin = Origin::new(&Rope { theta: 500_000.5, scaling }, 12);
    origin.metadata.extend([("tokens", "[1, 2]"), ("kv_spec", "{}")].map(|(name, value)| (name.into(), value.into())));
    origin
}

fn written(chunks: &[KvChunk]) -> Vec<u8> {
    let file = tempfile::NamedTempFile::new().unwrap();
    write(file.path(), chunks, &origin()).unwrap();
    std::fs::read(file.path()).unwrap()
}

/// A safetensors file of the tensors given by name, shape and fill.
fn safetensors_file(tensors: &[(&str, &[usize])], strings: &[(&str, &str)]) -> Vec<u8> {
    let zeros = vec![0; 4096];
    let views = tensors.iter().map(|(name, shape)| {
        let num_bytes = 2 * shape.iter().product::<usize>();
        (*name, TensorView::new(safetensors::Dtype::BF16, shape.to_vec(), &zeros[..num_bytes]).unwrap())
    });
    let strings: HashMap<_, _> = strings.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    safetensors::serialize(views, Some(strings)).unwrap()
}

const STRINGS: [(&str, &str); 2] = [("rope_theta", "1e4"), ("first_position", "0")];

fn refusal(tensors: &[(&str, &[usize])], strings: &[(&str, &str)]) -> String {
    let error = KvDump::parse(&safetensors_file(tensors, strings)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    error.to_string()
}

#[test]
fn a_dump_gives_back_chunks_of_any_cut() {
    for dtype in [Dtype::Bf16, Dtype::F16, Dtype::F32] {
        let chunks = [chunk(dtype, 32, 1), chunk(dtype, 9, 2)];
        let bytes = written(&chunks);
        let dump = KvDump::parse(&bytes).unwrap();
        assert_eq!((dump.num_tokens(), dump.geometry()), (41, chunks[0].geometry()));
        assert_eq!(dump.origin(), &origin());
        assert_eq!((dump.chunk(0, 32).unwrap(), dump.chunk(32, 9).unwrap()), chunks.into());
        let cut = dump.chunk(30, 5).unwrap();
        assert_eq!(written(&[dump.chunk(0, 30).unwrap(), cut, dump.chunk(35, 6).unwrap()]).len(), bytes.len());
    }
}

#[test]
fn tokens_beyond_the_end_are_invalid() {
    let bytes = written(&[chunk(Dtype::Bf16, 9, 1)]);
    let dump = KvDump::parse(&bytes).unwrap();
    for (start, num_tokens) in [(0, 10), (9, 1), (3, 0), (usize::MAX, 2)] {
        assert_eq!(dump.chunk(start, num_tokens).unwrap_err().kind(), ErrorKind::Invalid);
    }
}

#[test]
fn every_truncation_is_corrupt() {
    let bytes = written(&[chunk(Dtype::Bf16, 3, 1)]);
    for length in 0..bytes.len() {
        assert_eq!(KvDump::parse(&bytes[..length]).unwrap_err().kind(), ErrorKind::Corrupt);
    }
}

#[test]
fn files_that_are_no_dump_are_refused_by_name() {
    let shape: &[usize] = &[3, 1, 4];
    assert!(refusal(&[], &STRINGS).contains("k.0"));
    assert!(refusal(&[("k.0", shape)], &STRINGS).contains("v.0"));
    assert!(refusal(&[("k.0", shape), ("v.0", shape), ("w", shape)], &STRINGS).contains("\"w\""));
    assert!(refusal(&[("k.0", shape), ("v.0", shape), ("k.2", shape), ("v.2", shape)], &STRINGS).contains(".2"));
    assert!(refusal(&[("k.0", shape), ("v.0", &[4, 1, 4])], &STRINGS).contains("[4, 1, 4]"));
    assert!(refusal(&[("k.0", &[3, 4]), ("v.0", &[3, 4])], &STRINGS).contains("[3, 4]"));
    assert!(refusal(&[("k.0", &[0, 1, 4]), ("v.0", &[0, 1, 4])], &STRINGS).contains("no tokens"));
    assert!(refusal(&[("k.0", &[3, 0, 4]), ("v.0", &[3, 0, 4])], &STRINGS).contains("num_kv_heads 0"));
}

#[test]
fn metadata_that_is_missing_or_no_number_is_refused_by_name() {
    let tensors: [(&str, &[usize]); 2] = [("k.0", &[3, 1, 4]), ("v.0", &[3, 1, 4])];
    assert!(refusal(&tensors, &STRINGS[..1]).contains("first_position"));
    assert!(refusal(&tensors, &STRINGS[1..]).contains("rope_theta"));
    assert!(refusal(&tensors, &[STRINGS[0], ("first_position", "-1")]).contains("\"-1\""));
    assert!(refusal(&tensors, &[("rope_theta", "NaN"), STRINGS[1]]).contains("NaN"));
}

#[test]
fn nothing_and_mixed_geometries_are_not_written() {
    let file = tempfile::NamedTempFile::new().unwrap();
    assert!(write(file.path(), &[], &origin()).is_err());
    assert!(write(file.path(), &[chunk(Dtype::Bf16, 2, 0), chunk(Dtype::F16, 2, 0)], &origin()).is_err());
}

proptest! {
    #[test]
    fn changed_bytes_never_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut bytes = safetensors_file(&[("k.0", &[3, 1, 4]), ("v.0", &[3, 1, 4])], &STRINGS);
        for (place, value) in changes {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        if let Ok(dump) = KvDump::parse(&bytes) {
            let _ = dump.chunk(0, dump.num_tokens());
        }
    }
}
