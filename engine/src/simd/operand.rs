//! Left operands of products: packed rows.

use rayon::prelude::*;

use crate::Precision;

/// How the elements of a row lie in 32-bit words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// As those of weights and KV do.
    Packed(Precision),
    /// Rounded to bf16, but each as the f32 of its own: without a product of bf16 pairs, a kernel would have to unpack an
    /// element again for each line that it meets.
    Spread,
}

impl Form {
    /// Words of a row of `elements` elements.
    pub(crate) const fn words(self, elements: usize) -> usize {
        match self {
            Self::Packed(precision) => precision.words(elements),
            Self::Spread => elements.next_multiple_of(2),
        }
    }

    /// Rounds `values` into `words`, of which there are [`Self::words`]; a last word without a value stays as it is.
    #[inline(always)]
    pub(crate) fn pack(self, values: &[f32], words: &mut [u32]) {
        match self {
            Self::Packed(precision) => precision.pack(values, words),
            Self::Spread => {
                for (word, &value) in words.iter_mut().zip(values) {
                    *word = Precision::Bf16.round(value).to_bits();
                }
            }
        }
    }
}

/// Left operand of a product: `[rows, words]`, each row packed.
#[derive(Debug, Clone)]
pub(crate) struct Operand {
    words_per_row: usize,
    words: Vec<u32>,
}

impl Operand {
    pub(crate) fn zeroed(form: Form, num_rows: usize, cols: usize) -> Self {
        let words_per_row = form.words(cols);
        Self { words_per_row, words: vec![0; num_rows * words_per_row] }
    }

    pub(crate) fn words(&self) -> &[u32] {
        &self.words
    }

    /// Words of some of the rows.
    pub(crate) fn rows(&self, rows: std::ops::Range<usize>) -> &[u32] {
        &self.words[rows.start * self.words_per_row..rows.end * self.words_per_row]
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
