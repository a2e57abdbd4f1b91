//! Names of segments inside their chunk.

use crate::Side;

/// Name of a segment inside its chunk: unit of transfer and of storage, decodable alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentKey {
    /// Quality layer: 0 is the base, higher ones refine those below.
    pub quality: u8,
    /// Index of the run of layers that the segment holds.
    pub layer_group: u16,
    /// Keys or values.
    pub side: Side,
}
