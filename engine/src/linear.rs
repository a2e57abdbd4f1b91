//! Projections: weights packed once into panels, products spread over threads by columns.

use rayon::prelude::*;

use crate::rows::Rows;
use crate::simd::{Kernels, LANES, Line, Operand};
use crate::weights::Tensor;

/// Multiply-adds below which a product stays on one thread.
const PARALLEL_MACS: usize = 1 << 18;
/// Panels that one task takes.
const TASK_PANELS: usize = 4;

/// A matrix `[out, in]`, packed into panels of sixteen outputs.
#[derive(Debug)]
pub(crate) struct Packed {
    kernels: Kernels,
    num_outputs: usize,
    num_inputs: usize,
    /// `[panels, words]`
    lines: Vec<Line>,
}

impl Packed {
    /// Packs matrices of one width, stacked: the outputs of the first, then those of the second.
    pub(crate) fn new(kernels: Kernels, stack: &[Tensor]) -> Self {
        let precision = kernels.precision();
        let num_inputs = stack[0].cols();
        let num_outputs = stack.iter().map(Tensor::num_rows).sum();
        let words = precision.words(num_inputs);
        let mut lines = vec![Line::ZERO; words * usize::div_ceil(num_outputs, LANES)];
        let rows: Vec<(&Tensor, usize)> =
            stack.iter().flat_map(|tensor| (0..tensor.num_rows()).map(move |row| (tensor, row))).collect();
        lines.par_chunks_exact_mut(words).zip(rows.par_chunks(LANES)).for_each(|(panel, rows)| {
            let (mut values, mut packed) = (vec![0.0; num_inputs], vec![0; words]);
            for (lane, (tensor, row)) in rows.iter().enumerate() {
                tensor.read_row(*row, &mut values);
                precision.pack(&values, &mut packed);
                panel.iter_mut().zip(&packed).for_each(|(line, &word)| line.0[lane] = word);
            }
        });
        Self { kernels, num_outputs, num_inputs, lines }
    }

    /// Unpacks the weights of one output: a row of an embedding.
    pub(crate) fn read_row(&self, row: usize, out: &mut [f32]) {
        let precision = self.kernels.precision();
        let panel = &self.lines[row / LANES * self.words()..][..self.words()];
        for (idx, value) in out.iter_mut().enumerate() {
            let word = panel[precision.word_of(idx)].0[row % LANES];
            *value = precision.to_value(precision.extract(word, idx));
        }
    }

    /// `x * self^T`: `[rows, out]` from `[rows, in]`.
    pub(crate) fn product(&self, x: &Operand) -> Rows {
        let num_rows = x.num_rows();
        let mut sums = vec![[0.0; LANES]; num_rows * self.lines.len() / self.words()];
        let (panels, task_sums) = (TASK_PANELS * self.words(), TASK_PANELS * num_rows);
        if num_rows * self.num_inputs * self.num_outputs < PARALLEL_MACS {
            self.kernels.matmul(x, &self.lines, &mut sums);
        } else {
            self.lines
                .par_chunks(panels)
                .zip(sums.par_chunks_mut(task_sums))
                .for_each(|(panels, sums)| self.kernels.matmul(x, panels, sums));
        }
        let mut out = Rows::zeroed(num_rows, self.num_outputs);
        out.for_each(|row, out| {
            for (panel, out) in out.chunks_mut(LANES).enumerate() {
                out.copy_from_slice(&sums[panel * num_rows + row][..out.len()]);
            }
        });
        out
    }

    fn words(&self) -> usize {
        self.kernels.precision().words(self.num_inputs)
    }
}

/// A matrix and, where the model has one, a bias.
#[derive(Debug)]
pub(crate) struct Linear {
    pub(crate) weight: Packed,
    pub(crate) bias: Option<Vec<f32>>,
}

impl Linear {
    /// `x * weight^T + bias`.
    pub(crate) fn forward(&self, x: &Operand) -> Rows {
        let mut out = self.weight.product(x);
        self.add_bias(&mut out);
        out
    }

    /// Adds the bias, if there is one, to each row.
    pub(crate) fn add_bias(&self, rows: &mut Rows) {
        if let Some(bias) = &self.bias {
            rows.for_each(|_, row| row.iter_mut().zip(bias).for_each(|(sum, bias)| *sum += bias));
        }
    }
}
