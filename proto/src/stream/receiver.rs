//! The receiver's side of a fetch: which segments are due, and whether what arrives was announced.

use std::collections::HashMap;

use super::{Held, SegmentRef, Wants};
use crate::{ChunkContent, Error, Result, v1};

/// What is left to receive of a fetch.
///
/// A segment is accepted once, if the manifest has it, at its announced size; anything else is an error of the depot. What is
/// not wanted may come or not.
#[derive(Debug)]
pub struct FetchReceiver {
    due: HashMap<SegmentRef, Due>,
    wants: Wants,
}

#[derive(Debug)]
struct Due {
    segment_bytes: u64,
    has_begun: bool,
}

impl FetchReceiver {
    /// Of a manifest with these chunks, what is not `held`; and what `wants` has is waited for.
    pub fn new(chunks: &[&ChunkContent], wants: Wants, held: &Held) -> Self {
        let segments = (0u32..).zip(chunks).flat_map(|(chunk_idx, content)| {
            let due = content.segments.iter().enumerate().filter(move |(position, _)| !held.has(chunk_idx, *position));
            due.map(move |(_, segment)| {
                let due = Due { segment_bytes: segment.segment_bytes, has_begun: false };
                (SegmentRef { chunk_idx, key: segment.key }, due)
            })
        });
        Self { due: segments.collect(), wants }
    }

    /// Accepts the start of a segment.
    ///
    /// # Errors
    /// `Invalid` when it was not announced, has begun before, or has another size than announced.
    pub fn begin(&mut self, segment: SegmentRef, segment_bytes: u64) -> Result<()> {
        let SegmentRef { chunk_idx, key } = segment;
        let due = self.due.get_mut(&segment).filter(|due| !due.has_begun);
        let due = due.ok_or_else(|| {
            Error::invalid(format!("segment {key:?} of chunk {chunk_idx} was not announced, or came twice"))
        })?;
        if due.segment_bytes != segment_bytes {
            return Err(Error::invalid(format!(
                "segment {key:?} of chunk {chunk_idx} has {segment_bytes} bytes, announced were {}",
                due.segment_bytes
            )));
        }
        due.has_begun = true;
        Ok(())
    }

    /// Counts a begun segment as arrived; gives whether it is wanted.
    pub fn finish(&mut self, segment: SegmentRef) -> bool {
        self.due.remove(&segment).is_some() && self.wants.wants(segment)
    }

    /// Takes wants back; gives what to tell the depot, if that changes anything.
    pub fn adjust(&mut self, wants: Wants) -> Option<v1::Adjust> {
        let is_less = self.wants.adjust(wants.first_chunk(), wants.max_qualities());
        is_less.then(|| self.wants.into())
    }

    /// Wanted segments that have not arrived, with their bytes.
    pub fn wanted(&self) -> impl Iterator<Item = (SegmentRef, u64)> {
        let due = self.due.iter().filter(|(segment, _)| self.wants.wants(**segment));
        due.map(|(segment, due)| (*segment, due.segment_bytes))
    }

    /// Whether all that is wanted has arrived.
    pub fn is_complete(&self) -> bool {
        self.wanted().next().is_none()
    }
}

#[cfg(test)]
mod tests {
    use kvdepot_codec::{Level, SegmentKey, Side};

    use super::*;
    use crate::SegmentEntry;

    fn segment(chunk_idx: u32, quality: u8) -> SegmentRef {
        SegmentRef { chunk_idx, key: SegmentKey { quality, layer_group: 0, side: Side::K } }
    }

    fn receiver(wants: Wants) -> FetchReceiver {
        let entry = |quality| SegmentEntry { key: segment(0, quality).key, segment_bytes: 9 };
        let content = ChunkContent { level: Level::Q3, segments: vec![entry(0), entry(1)] };
        FetchReceiver::new(&[&content, &content], wants, &Held::default())
    }

    #[test]
    fn each_segment_is_taken_once_at_its_size() {
        let mut receiver = receiver(Wants::default());
        assert!(receiver.begin(segment(0, 2), 9).is_err(), "not announced");
        assert!(receiver.begin(segment(2, 0), 9).is_err(), "no such chunk");
        assert!(receiver.begin(segment(0, 0), 8).is_err(), "another size");
        assert_eq!(receiver.begin(segment(0, 0), 9), Ok(()));
        assert!(receiver.begin(segment(0, 0), 9).is_err(), "under way");
        assert!(receiver.finish(segment(0, 0)));
        assert!(receiver.begin(segment(0, 0), 9).is_err(), "came already");
        assert_eq!((receiver.wanted().count(), receiver.is_complete()), (3, false));
    }

    #[test]
    fn what_is_not_wanted_may_come_and_is_not_waited_for() {
        let mut receiver = receiver(Wants::new(0, 1));
        assert_eq!(receiver.wanted().count(), 2);
        assert_eq!(receiver.begin(segment(1, 1), 9), Ok(()));
        assert!(!receiver.finish(segment(1, 1)));
        assert_eq!(receiver.adjust(Wants::new(1, 0)), Some(v1::Adjust { first_chunk: 1, max_qualities: 1 }));
        assert_eq!(receiver.adjust(Wants::new(0, 2)), None, "nothing that the depot does not know");
        assert_eq!(receiver.wanted().count(), 1);
        assert!(receiver.begin(segment(1, 0), 9).is_ok() && receiver.finish(segment(1, 0)));
        assert!(receiver.is_complete());
    }
}
