//! What tests of the depot see and damage on disk.

use super::*;

impl Store {
    /// Rows of segments, visible or not.
    pub(crate) fn num_segment_rows(&self) -> usize {
        self.num_rows(Column::Segments)
    }

    /// Rows of puts in progress.
    pub(crate) fn num_staging_rows(&self) -> usize {
        self.num_rows(Column::Staging)
    }

    fn num_rows(&self, column: Column) -> usize {
        let mut rows = 0;
        let count = |_: &[u8], _: &[u8]| {
            rows += 1;
            Ok(())
        };
        self.rocks.scan(column, count).unwrap();
        rows
    }

    /// Flips one bit of the metadata of a chunk.
    pub(crate) fn damage_row(&self, id: &ChunkId) {
        self.damage(Column::Chunks, id.as_bytes());
    }

    /// Flips one bit of a segment.
    pub(crate) fn damage_segment(&self, id: &ChunkId, instance: u64, key: SegmentKey) {
        self.damage(Column::Segments, &segment_row_key(id, instance, key));
    }

    fn damage(&self, column: Column, key: &[u8]) {
        let mut value = self.rocks.read(column, key).unwrap().unwrap();
        let middle = value.len() / 2;
        value[middle] ^= 1;
        self.rocks.put(column, key, &value).unwrap();
    }
}

#[test]
fn every_flipped_bit_and_every_truncation_of_a_row_is_corrupt() {
    let context = crate::testing::exact_context(crate::testing::tokens(1, 8));
    let id = ChunkId::new([9; 32]);
    let row = ChunkRow {
        parent: ChunkId::new([8; 32]),
        start_token: 0,
        tokens: context.announce.tokens.clone(),
        fingerprint: context.announce.scope.spec.fingerprint(),
        namespace: "default".to_owned(),
        content: context.announce.contents[0].clone(),
        instance: 3,
        created: 4,
    };
    let sealed = row.seal(&id);
    assert_eq!(ChunkRow::unseal(&id, &sealed).unwrap(), row);
    for bit in 0..sealed.len() * 8 {
        let mut damaged = sealed.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(ChunkRow::unseal(&id, &damaged).unwrap_err().kind(), ErrorKind::Corrupt, "bit {bit}");
    }
    for len in 0..sealed.len() {
        assert_eq!(ChunkRow::unseal(&id, &sealed[..len]).unwrap_err().kind(), ErrorKind::Corrupt, "{len} bytes");
    }
    let other = ChunkId::new([10; 32]);
    assert_eq!(ChunkRow::unseal(&other, &sealed).unwrap_err().kind(), ErrorKind::Corrupt, "under another key");
}
