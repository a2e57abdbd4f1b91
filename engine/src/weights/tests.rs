use std::collections::HashMap;

use safetensors::tensor::TensorView;
use tempfile::TempDir;

use super::*;

/// Writes a file of f32 tensors, each `[values]`.
fn write(dir: &Path, file: &str, tensors: &[(&str, &[f32])]) {
    let bytes: Vec<Vec<u8>> = tensors.iter().map(|(_, v)| v.iter().flat_map(|v| v.to_le_bytes()).collect()).collect();
    let views = tensors.iter().zip(&bytes).map(|((name, values), bytes)| {
        (*name, TensorView::new(safetensors::Dtype::F32, vec![values.len()], bytes).unwrap())
    });
    safetensors::serialize_to_file(views, None, &dir.join(file)).unwrap();
}

fn write_index(dir: &Path, entries: &[(&str, &str)]) {
    let map: HashMap<_, _> = entries.iter().copied().collect();
    std::fs::write(dir.join(INDEX_FILE), serde_json::json!({ "weight_map": map }).to_string()).unwrap();
}

fn sharded(entries: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "one.safetensors", &[("b", &[3.0])]);
    write(dir.path(), "two.safetensors", &[("a", &[1.0, 2.0])]);
    write_index(dir.path(), entries);
    dir
}

fn refusal(dir: &Path) -> String {
    Checkpoint::open(dir).unwrap_err().to_string()
}

#[test]
fn the_digest_does_not_depend_on_how_weights_are_cut_into_files() {
    let single = tempfile::tempdir().unwrap();
    write(single.path(), SINGLE_FILE, &[("a", &[1.0, 2.0]), ("b", &[3.0])]);
    let sharded = sharded(&[("a", "two.safetensors"), ("b", "one.safetensors")]);
    let digest = |dir: &TempDir| Checkpoint::open(dir.path()).unwrap().digest().unwrap();
    assert_eq!(digest(&single), digest(&sharded));

    let changed = tempfile::tempdir().unwrap();
    write(changed.path(), SINGLE_FILE, &[("a", &[1.0, 2.5]), ("b", &[3.0])]);
    assert_ne!(digest(&single), digest(&changed));
    let moved = tempfile::tempdir().unwrap();
    write(moved.path(), SINGLE_FILE, &[("a", &[1.0]), ("b", &[2.0, 3.0])]);
    assert_ne!(digest(&single), digest(&moved));
}

#[test]
fn tensors_are_read_from_the_file_that_holds_them() {
    let dir = sharded(&[("a", "two.safetensors"), ("b", "one.safetensors")]);
    let checkpoint = Checkpoint::open(dir.path()).unwrap();
    assert_eq!(checkpoint.tensor("a", &[2]).unwrap().to_vector(), [1.0, 2.0]);
    assert_eq!(checkpoint.tensor("b", &[1]).unwrap().to_vector(), [3.0]);
}

#[test]
fn an_index_that_contradicts_its_files_is_refused() {
    let misplaced = sharded(&[("a", "one.safetensors"), ("b", "one.safetensors")]);
    assert!(refusal(misplaced.path()).contains("places tensor a in one.safetensors"));
    let missing = sharded(&[("a", "three.safetensors")]);
    assert!(refusal(missing.path()).contains("three.safetensors does not exist"));
    let twice = sharded(&[("a", "two.safetensors"), ("b", "one.safetensors"), ("c", "copy.safetensors")]);
    write(twice.path(), "copy.safetensors", &[("b", &[3.0])]);
    assert!(refusal(twice.path()).contains("tensor b is both in"));
}

#[test]
fn an_index_cannot_name_files_elsewhere() {
    for file in ["../two.safetensors", "/etc/passwd", "sub/two.safetensors", "", ".."] {
        assert!(refusal(sharded(&[("a", file)]).path()).contains("not a file beside it"), "{file}");
    }
}

#[test]
fn a_file_is_refused_at_every_length_but_its_own() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), SINGLE_FILE, &[("a", &[1.0, 2.0])]);
    let path = dir.path().join(SINGLE_FILE);
    let bytes = std::fs::read(&path).unwrap();
    for length in 0..bytes.len() {
        std::fs::write(&path, &bytes[..length]).unwrap();
        assert_eq!(Checkpoint::open(dir.path()).unwrap_err().kind(), crate::ErrorKind::Corrupt, "{length}");
    }
    std::fs::write(&path, [&bytes[..], &[0]].concat()).unwrap();
    assert!(refusal(dir.path()).contains("the header promises"));
}

#[test]
fn a_header_longer_than_its_file_is_refused_before_it_is_read() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(SINGLE_FILE), u64::MAX.to_le_bytes()).unwrap();
    assert!(refusal(dir.path()).contains("a header of 18446744073709551615 bytes"));
}
