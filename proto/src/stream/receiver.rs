//! The receiver's side of a fetch: which segments are due, and whether what arrives was announced.

use std::collections::HashMap;

use super::{SegmentRef, Wants};
use crate::{ChunkContent, Error, Result};

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
    /// Of a manifest with these chunks, what `wants` has.
    pub fn new(chunks: &[&ChunkContent], wants: Wants) -> Self {
        let segments = (0u32..).zip(chunks).flat_map(|(chunk_idx, content)| {
            content.segments.iter().map(move |segment| {
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

    /// Takes wants back.
    pub fn adjust(&mut self, wants: Wants) {
        self.wants.adjust(wants.first_chunk(), wants.max_qualities());
    }

    /// Whether a segment is wanted.
    pub fn wants(&self, segment: SegmentRef) -> bool {
        self.wants.wants(segment)
    }

    /// Wanted segments that have not arrived.
    pub fn outstanding(&self) -> usize {
        self.due.keys().filter(|segment| self.wants.wants(**segment)).count()
    }

    /// Whether all that is wanted has arrived.
    pub fn is_complete(&self) -> bool {
        !self.due.keys().any(|segment| self.wants.wants(*segment))
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
        FetchReceiver::new(&[&content, &content], wants)
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
        assert_eq!((receiver.outstanding(), receiver.is_complete()), (3, false));
    }

    #[test]
    fn what_is_not_wanted_may_come_and_is_not_waited_for() {
        let mut receiver = receiver(Wants::new(0, 1));
        assert_eq!(receiver.outstanding(), 2);
        assert_eq!(receiver.begin(segment(1, 1), 9), Ok(()));
        assert!(!receiver.finish(segment(1, 1)));
        receiver.adjust(Wants::new(1, 0));
        assert_eq!(receiver.outstanding(), 1);
        assert!(receiver.begin(segment(1, 0), 9).is_ok() && receiver.finish(segment(1, 0)));
        assert!(receiver.is_complete());
    }
}
