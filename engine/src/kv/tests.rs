use kvdepot_codec::{Geometry, KvChunk, Side};
use proptest::prelude::*;

use super::*;
use crate::simd::PAGE_TOKENS;
use crate::{Error, Precision};

fn pool(precision: Precision, head_dim: u32, pages: usize) -> KvPool {
    let layout = KvLayout { precision, geometry: Geometry::new(3, 2, head_dim, precision.dtype()).unwrap() };
    KvPool::new(layout, pages * layout.page_bytes())
}

fn chunk(pool: &KvPool, num_tokens: usize, seed: u8) -> KvChunk {
    let geometry = pool.layout().geometry;
    let bytes = (0..geometry.kv_bytes(num_tokens)).map(|i| (i as u8).wrapping_mul(31).wrapping_add(seed)).collect();
    KvChunk::from_bytes(geometry, num_tokens, bytes).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn what_is_imported_is_exported_bit_for_bit(first in 1usize..150, second in 1usize..80, dim in 1u32..20, seed: u8) {
        for precision in [Precision::F32, Precision::Bf16] {
            let pool = pool(precision, dim, 4);
            let chunks = [chunk(&pool, first, seed), chunk(&pool, second, seed ^ 1)];
            let mut sequence = Sequence::default();
            chunks.iter().for_each(|chunk| sequence.import(&pool, chunk, 0..chunk.num_tokens()).unwrap());
            prop_assert_eq!(&sequence.export(pool.layout(), 0..first).unwrap(), &chunks[0]);
            prop_assert_eq!(&sequence.export(pool.layout(), first..first + second).unwrap(), &chunks[1]);
        }
    }
}

#[test]
fn a_fork_shares_full_pages_and_copies_the_rest() {
    let pool = pool(Precision::Bf16, 8, 10);
    let mut whole = Sequence::default();
    whole.import(&pool, &chunk(&pool, 2 * PAGE_TOKENS + 10, 3), 0..2 * PAGE_TOKENS + 10).unwrap();
    let mut fork = whole.fork(&pool, 2 * PAGE_TOKENS + 5, 2 * PAGE_TOKENS + 5).unwrap();
    assert_eq!(pool.used_bytes(), 4 * pool.page_bytes());

    let before = whole.export(pool.layout(), 0..whole.num_tokens()).unwrap();
    fork.write(pool.layout(), (0, 0, Side::K), fork.num_tokens(), &[9.0; 8]);
    fork.commit(1);
    assert_eq!(whole.export(pool.layout(), 0..whole.num_tokens()).unwrap(), before);

    drop(whole);
    assert_eq!(pool.used_bytes(), 3 * pool.page_bytes());
    drop(fork);
    assert_eq!(pool.used_bytes(), 0);
}

#[test]
fn a_pool_refuses_what_does_not_fit_and_keeps_what_it_has() {
    let pool = pool(Precision::F32, 4, 2);
    let mut sequence = Sequence::default();
    sequence.reserve(&pool, PAGE_TOKENS).unwrap();
    let page_bytes = pool.page_bytes();
    match sequence.reserve(&pool, 3 * PAGE_TOKENS) {
        Err(Error::Busy { needed_bytes, used_bytes, limit_bytes }) => {
            assert_eq!((needed_bytes, used_bytes, limit_bytes), (2 * page_bytes, page_bytes, 2 * page_bytes));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(pool.used_bytes(), page_bytes);
    sequence.reserve(&pool, 2 * PAGE_TOKENS).unwrap();
}

#[test]
fn chunks_of_another_shape_and_ranges_not_held_are_refused() {
    let (ours, theirs) = (pool(Precision::F32, 4, 2), pool(Precision::F32, 8, 2));
    let mut sequence = Sequence::default();
    assert!(matches!(sequence.import(&ours, &chunk(&theirs, 3, 0), 0..3), Err(Error::Invalid(_))));
    assert_eq!(ours.used_bytes(), 0);
    sequence.import(&ours, &chunk(&ours, 3, 0), 0..3).unwrap();
    assert!(matches!(sequence.export(ours.layout(), 1..4), Err(Error::Invalid(_))));
    assert!(matches!(sequence.export(ours.layout(), 2..2), Err(Error::Invalid(_))));
}
