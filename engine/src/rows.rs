//! Activations: row-major f32, one row per token.

use rayon::prelude::*;

use crate::Precision;
use crate::simd::{Form, Operand};

/// Elements below which a pass over rows stays on one thread: waking another costs more than the pass.
const PARALLEL_ELEMENTS: usize = 1 << 14;

/// `[rows, cols]` f32, row-major.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rows {
    cols: usize,
    values: Vec<f32>,
}

impl Rows {
    pub(crate) fn zeroed(num_rows: usize, cols: usize) -> Self {
        Self { cols, values: vec![0.0; num_rows * cols] }
    }

    pub(crate) fn num_rows(&self) -> usize {
        self.values.len() / self.cols
    }

    pub(crate) fn cols(&self) -> usize {
        self.cols
    }

    pub(crate) fn row(&self, idx: usize) -> &[f32] {
        &self.values[idx * self.cols..(idx + 1) * self.cols]
    }

    pub(crate) fn row_mut(&mut self, idx: usize) -> &mut [f32] {
        &mut self.values[idx * self.cols..(idx + 1) * self.cols]
    }

    /// The rows named by `indices`, in their order.
    pub(crate) fn select(&self, indices: &[usize]) -> Self {
        Self { cols: self.cols, values: indices.iter().flat_map(|&idx| self.row(idx)).copied().collect() }
    }

    /// Puts the rows of `other`, as wide, after these.
    pub(crate) fn append(&mut self, mut other: Self) {
        self.values.append(&mut other.values);
    }

    /// Runs `edit` on every row, on several threads when there is enough to do.
    pub(crate) fn for_each(&mut self, edit: impl Fn(usize, &mut [f32]) + Sync) {
        if self.values.len() < PARALLEL_ELEMENTS {
            self.values.chunks_exact_mut(self.cols).enumerate().for_each(|(idx, row)| edit(idx, row));
        } else {
            self.values.par_chunks_exact_mut(self.cols).enumerate().for_each(|(idx, row)| edit(idx, row));
        }
    }

    /// Adds `other`, element by element.
    pub(crate) fn add(&mut self, other: &Self) {
        self.for_each(|idx, row| row.iter_mut().zip(other.row(idx)).for_each(|(sum, term)| *sum += term));
    }

    /// Packs each row, as `transform` rewrites it into a row of `out_cols` values, into kernel operands.
    pub(crate) fn pack_map(
        &self,
        form: Form,
        out_cols: usize,
        transform: impl Fn(&[f32], &mut [f32]) + Sync,
    ) -> Operand {
        let mut operand = Operand::zeroed(form, self.num_rows(), out_cols);
        let pack = |scratch: &mut Vec<f32>, (idx, words): (usize, &mut [u32])| {
            transform(self.row(idx), scratch);
            form.pack(scratch, words);
        };
        if self.values.len() < PARALLEL_ELEMENTS {
            let mut scratch = vec![0.0; out_cols];
            operand.rows_mut().enumerate().for_each(|row| pack(&mut scratch, row));
        } else {
            operand.par_rows_mut().enumerate().for_each_init(|| vec![0.0; out_cols], pack);
        }
        operand
    }

    /// Packs the rows as they are.
    pub(crate) fn pack(&self, form: Form) -> Operand {
        self.pack_map(form, self.cols, |row, out| out.copy_from_slice(row))
    }

    /// Each row without what `precision` keeps of it: zeros in f32.
    pub(crate) fn rest(&self, precision: Precision) -> Self {
        let mut rest = self.clone();
        rest.for_each(|_, row| row.iter_mut().for_each(|value| *value -= precision.round(*value)));
        rest
    }

    /// Adds the rows past the first `num_rows`, as many or none, to those, and drops them.
    pub(crate) fn add_tail(&mut self, num_rows: usize) {
        let tail = self.values.split_off(num_rows * self.cols);
        self.values.iter_mut().zip(&tail).for_each(|(sum, term)| *sum += term);
    }
}
