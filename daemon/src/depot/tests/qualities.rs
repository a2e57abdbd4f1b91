//! Quality layers: a put brings all of them, and all come back.

use tempfile::tempdir;

use super::*;

fn layered(seed: u32, len: u32) -> Context {
    context(Scope { lossy: true, ..scope() }, tokens(seed, len), Level::Q3)
}

#[test]
fn every_quality_layer_comes_back_after_a_reopening() {
    let dir = tempdir().unwrap();
    let test = open(dir.path(), 0);
    let context = layered(1, 80);
    assert_eq!(context.segments.len(), 3 * 2 * 5, "chunks, layers, quality layers of both sides");
    put(&test.depot, &context).unwrap();
    test.close();
    let test = open(dir.path(), 0);
    assert_eq!(fetch(&test.depot, &context).unwrap().1, context.segments);
}

#[test]
fn a_chunk_that_lacks_a_quality_layer_is_refused() {
    let dir = tempdir().unwrap();
    let test = open(dir.path(), 0);
    let context = layered(1, 32);
    for dropped in &context.segments {
        let mut changed = context.clone();
        changed.segments.retain(|segment| segment.key != dropped.key);
        changed.announce.contents[0].segments.retain(|segment| segment.key != dropped.key);
        let error = put(&test.depot, &changed).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains(&format!("side {:?} of quality", dropped.key.side)), "{error}");
    }
    assert_eq!(test.depot.store.num_segment_rows(), 0);
    assert_eq!(put(&test.depot, &context).unwrap().new_chunks, 1);
}

#[test]
fn a_segment_of_another_quality_layer_than_announced_is_refused() {
    let dir = tempdir().unwrap();
    let test = open(dir.path(), 0);
    let mut context = layered(1, 32);
    let [base, refinement] =
        [0, 1].map(|quality| context.segments.iter().position(|segment| segment.key.quality == quality).unwrap());
    context.segments[refinement].bytes = context.segments[base].bytes.clone();
    let segment_bytes = context.segments[base].bytes.len() as u64;
    context.announce.contents[0].segments[refinement].segment_bytes = segment_bytes;
    let error = put(&test.depot, &context).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("quality: 0") && error.to_string().contains("quality: 1"), "{error}");
}
