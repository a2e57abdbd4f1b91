//! The unit of right operands.

/// Columns of one panel: 32-bit lanes of one line.
pub(crate) const LANES: usize = 16;

/// Sixteen words in one cache line: the same word of sixteen neighbouring columns.
///
/// A panel of sixteen columns is a run of lines, one per word of depth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, align(64))]
pub(crate) struct Line(pub(crate) [u32; LANES]);

impl Line {
    /// Sixteen zeros at either precision.
    pub(crate) const ZERO: Self = Self([0; LANES]);
}
