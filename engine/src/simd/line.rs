//! The unit of packed operands.

use rayon::prelude::*;

use crate::Precision;

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

/// Left operand of a product: `[rows, words]`, each row packed.
#[derive(Debug, Clone)]
pub(crate) struct Operand {
    words_per_row: usize,
    words: Vec<u32>,
}

impl Operand {
    pub(crate) fn zeroed(precision: Precision, num_rows: usize, cols: usize) -> Self {
        let words_per_row = precision.words(cols);
        Self { words_per_row, words: vec![0; num_rows * words_per_row] }
    }

    pub(crate) fn words_per_row(&self) -> usize {
        self.words_per_row
    }

    pub(crate) fn words(&self) -> &[u32] {
        &self.words
    }

    pub(crate) fn num_rows(&self) -> usize {
        self.words.len() / self.words_per_row
    }

    pub(crate) fn rows_mut(&mut self) -> impl Iterator<Item = &mut [u32]> {
        self.words.chunks_exact_mut(self.words_per_row)
    }

    pub(crate) fn par_rows_mut(&mut self) -> impl IndexedParallelIterator<Item = &mut [u32]> {
        self.words.par_chunks_exact_mut(self.words_per_row)
    }
}
