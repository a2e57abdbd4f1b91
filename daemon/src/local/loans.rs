//! What of a fetch is lent to its receiver, and what comes next.

use std::collections::VecDeque;

use kvdepot_proto::limits::FETCH_AHEAD_BYTES;
use kvdepot_proto::stream::{FetchSender, SegmentRef, Wants};
use kvdepot_proto::{ChunkContent, Error, Result, v1};

/// Most segments of one loan: each has a descriptor.
const MAX_SEGMENTS: usize = kvdepot_local::MAX_DESCRIPTORS;
/// A loan of several segments has no more bytes than this.
const LOAN_BYTES: u64 = 4 << 20;
/// Most loans that a receiver has: their descriptors count for both processes.
pub(super) const MAX_LOANS: usize = 8;

/// Segments of one chunk that are lent together.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Loan {
    pub(super) segments: Vec<SegmentRef>,
    pub(super) bytes: u64,
}

/// The loans of a fetch.
pub(super) struct Loans<'c> {
    contents: Vec<&'c ChunkContent>,
    sender: FetchSender,
    wants: Wants,
    /// Segments of the batch begun last that are not lent yet.
    waiting: VecDeque<SegmentRef>,
    /// Bytes of each loan that the receiver has.
    lent: VecDeque<u64>,
}

impl<'c> Loans<'c> {
    /// Of the chunks that `sender` sends.
    pub(super) fn new(sender: FetchSender, contents: Vec<&'c ChunkContent>) -> Self {
        Self { contents, sender, wants: Wants::default(), waiting: VecDeque::new(), lent: VecDeque::new() }
    }

    /// Whether the receiver has little enough to be lent more.
    pub(super) fn has_room(&self) -> bool {
        self.lent.len() < MAX_LOANS && self.lent.iter().sum::<u64>() < FETCH_AHEAD_BYTES
    }

    /// The next loan; the receiver has it from now on.
    pub(super) fn next(&mut self) -> Option<Loan> {
        if self.waiting.is_empty() {
            let (id, segments) = self.sender.next_batch(&self.contents)?;
            // What is lent cannot be taken back.
            self.sender.sent(id);
            self.waiting = segments.into();
        }
        let mut loan = Loan { segments: Vec::new(), bytes: 0 };
        while let Some(&segment) = self.waiting.front()
            && loan.fits(segment, self.segment_bytes(segment))
        {
            loan.bytes += self.segment_bytes(segment);
            loan.segments.push(segment);
            self.waiting.pop_front();
        }
        self.lent.push_back(loan.bytes);
        Some(loan)
    }

    /// The receiver needs the oldest loan no more.
    pub(super) fn taken(&mut self) -> Result<()> {
        self.lent.pop_front().map(drop).ok_or_else(|| Error::invalid("more loans taken than were made"))
    }

    /// The receiver wants less.
    pub(super) fn adjust(&mut self, adjust: v1::Adjust) -> Result<()> {
        let wants = Wants::from_message(adjust.first_chunk, adjust.max_qualities)?;
        self.sender.adjust(wants.first_chunk(), wants.max_qualities(), &self.contents);
        self.wants.adjust(wants.first_chunk(), wants.max_qualities());
        self.waiting.retain(|segment| self.wants.wants(*segment));
        Ok(())
    }

    /// Announced bytes of a segment.
    pub(super) fn segment_bytes(&self, segment: SegmentRef) -> u64 {
        let content = self.contents.get(segment.chunk_idx as usize);
        let mut entries = content.into_iter().flat_map(|content| &content.segments);
        entries.find(|entry| entry.key == segment.key).map_or(0, |entry| entry.segment_bytes)
    }
}

impl Loan {
    fn fits(&self, segment: SegmentRef, segment_bytes: u64) -> bool {
        self.segments.first().is_none_or(|first| {
            first.chunk_idx == segment.chunk_idx
                && self.segments.len() < MAX_SEGMENTS
                && self.bytes.saturating_add(segment_bytes) <= LOAN_BYTES
        })
    }
}

#[cfg(test)]
mod tests {
    use kvdepot_codec::{Level, SegmentKey, Side};
    use kvdepot_proto::SegmentEntry;
    use kvdepot_proto::stream::SendOrder;

    use super::*;

    /// A chunk of `layer_groups` groups whose segments have `segment_bytes` each.
    fn content(layer_groups: u16, segment_bytes: u64) -> ChunkContent {
        let keys = (0..layer_groups)
            .flat_map(|layer_group| Side::BOTH.map(|side| SegmentKey { quality: 0, layer_group, side }));
        ChunkContent { level: Level::Q0, segments: keys.map(|key| SegmentEntry { key, segment_bytes }).collect() }
    }

    fn loans(contents: &[ChunkContent]) -> Loans<'_> {
        let contents: Vec<&ChunkContent> = contents.iter().collect();
        Loans::new(FetchSender::new(SendOrder::Chunks, &contents, Wants::default()), contents)
    }

    #[test]
    fn every_segment_is_lent_once_in_loans_of_one_chunk() {
        for segment_bytes in [1, 1 << 20, 10 << 20] {
            let contents = [content(20, segment_bytes), content(1, segment_bytes)];
            let mut loans = loans(&contents);
            let mut lent = Vec::new();
            while let Some(loan) = loans.next() {
                assert!(loan.segments.len() == 1 || loan.bytes <= LOAN_BYTES);
                assert!(loan.segments.len() <= MAX_SEGMENTS);
                assert!(loan.segments.iter().all(|segment| segment.chunk_idx == loan.segments[0].chunk_idx));
                lent.extend(loan.segments);
                loans.taken().unwrap();
            }
            lent.sort_unstable_by_key(|segment| (segment.chunk_idx, segment.key));
            let all = lent.len();
            lent.dedup();
            assert_eq!((all, lent.len()), (42, 42));
        }
    }

    #[test]
    fn a_receiver_that_takes_nothing_is_lent_no_more_than_the_window_and_one_loan() {
        for segment_bytes in [1, 1 << 20, 10 << 20] {
            let contents = vec![content(8, segment_bytes); 64];
            let mut loans = loans(&contents);
            let (mut lent_bytes, mut count) = (0, 0);
            while loans.has_room() {
                let loan = loans.next().expect("more to lend");
                (lent_bytes, count) = (lent_bytes + loan.bytes, count + 1);
                assert!(lent_bytes - loan.bytes < FETCH_AHEAD_BYTES);
            }
            assert!(count <= MAX_LOANS);
            loans.taken().unwrap();
            assert!(loans.has_room());
        }
    }

    #[test]
    fn what_is_wanted_no_more_is_not_lent() {
        let contents = vec![content(20, 1 << 20); 4];
        let mut loans = loans(&contents);
        assert!(loans.next().is_some());
        loans.adjust(v1::Adjust { first_chunk: 3, max_qualities: 0 }).unwrap();
        let next = loans.next().unwrap();
        assert!(next.segments.iter().all(|segment| segment.chunk_idx == 3));
        loans.adjust(v1::Adjust { first_chunk: 4, max_qualities: 0 }).unwrap();
        assert_eq!(loans.next(), None);
    }

    #[test]
    fn more_taken_than_lent_is_refused() {
        let contents = [content(1, 1)];
        let mut loans = loans(&contents);
        assert!(loans.taken().is_err());
    }
}
