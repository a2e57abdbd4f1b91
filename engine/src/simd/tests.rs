use proptest::prelude::*;

use super::dispatch::{Isa, Kernels};
use super::*;
use crate::Precision;

const BOTH: [Precision; 2] = [Precision::F32, Precision::Bf16];

fn all_kernels() -> Vec<Kernels> {
    BOTH.into_iter().flat_map(|p| Isa::available().into_iter().map(move |isa| Kernels::with_isa(isa, p))).collect()
}

/// Values in `-1..1` from a seed.
fn values(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2) | 1;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    })
    .take(count)
    .collect()
}

fn rounded(precision: Precision, values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| f64::from(precision.to_value(precision.to_bits(v)))).collect()
}

fn operand(kernels: &Kernels, values: &[f32], cols: usize) -> Operand {
    let mut operand = Operand::zeroed(kernels.form(), values.len() / cols, cols);
    operand.rows_mut().zip(values.chunks_exact(cols)).for_each(|(words, row)| kernels.form().pack(row, words));
    operand
}

/// Panels of a matrix `[cols, depth]` whose columns are the panels' lanes.
fn panels(precision: Precision, matrix: &[f32], depth: usize) -> Vec<Line> {
    let words = precision.words(depth);
    let mut lines = vec![Line::ZERO; (matrix.len() / depth).div_ceil(LANES) * words];
    for (col, row) in matrix.chunks_exact(depth).enumerate() {
        let mut packed = vec![0; words];
        precision.pack(row, &mut packed);
        for (word, bits) in packed.into_iter().enumerate() {
            lines[col / LANES * words + word].0[col % LANES] = bits;
        }
    }
    lines
}

/// Sums of rows of `depth` values with panels.
fn product(kernels: &Kernels, x: &[f32], depth: usize, lines: &[Line]) -> Vec<[f32; LANES]> {
    let x = operand(kernels, x, depth);
    let num_panels = lines.len() / kernels.precision().words(depth);
    let mut out = vec![[f32::NAN; LANES]; num_panels * x.num_rows()];
    kernels.matmul(&x, lines, &mut out);
    out
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn products_agree_with_the_scalar_sum(seed: u64, rows in 1usize..20, cols in 1usize..100, depth in 1usize..70) {
        let (a, b) = (values(seed, rows * depth), values(seed ^ 1, cols * depth));
        for kernels in all_kernels() {
            let precision = kernels.precision();
            let out = product(&kernels, &a, depth, &panels(precision, &b, depth));
            let (a, b) = (rounded(precision, &a), rounded(precision, &b));
            for (row, col) in (0..rows).flat_map(|row| (0..cols).map(move |col| (row, col))) {
                let expected = dot(&a[row * depth..][..depth], &b[col * depth..][..depth]);
                let found = f64::from(out[col / LANES * rows + row][col % LANES]);
                prop_assert!((found - expected).abs() < 1e-5, "{kernels:?} {row} {col}: {found} {expected}");
            }
        }
    }

    #[test]
    fn a_row_of_a_product_does_not_depend_on_the_other_rows(seed: u64, rows in 1usize..20, cols in 1usize..80) {
        let depth = 33;
        let (a, b) = (values(seed, rows * depth), values(seed ^ 1, cols * depth));
        for kernels in all_kernels() {
            let lines = panels(kernels.precision(), &b, depth);
            let all = product(&kernels, &a, depth, &lines);
            for row in 0..rows {
                let expected: Vec<_> = all.iter().skip(row).step_by(rows).copied().collect();
                prop_assert_eq!(product(&kernels, &a[row * depth..][..depth], depth, &lines), expected);
            }
        }
    }

    #[test]
    fn the_gate_agrees_with_the_scalar_function(gate in prop::collection::vec(-90f32..90.0, 1..40)) {
        let up = values(7, gate.len());
        for kernels in all_kernels() {
            let mut out = vec![f32::NAN; gate.len()];
            kernels.gate(&gate, &up, &mut out);
            for ((&gate, &up), &found) in gate.iter().zip(&up).zip(&out) {
                let expected = f64::from(gate) / (1.0 + (-f64::from(gate)).exp()) * f64::from(up);
                prop_assert!((f64::from(found) - expected).abs() <= 1e-6 * expected.abs().max(1e-6));
            }
        }
    }
}

/// One head's pages, and query rows with the number of tokens each may see over all pages.
struct Head {
    head_dim: usize,
    q: Vec<f32>,
    keys: Vec<f32>,
    values: Vec<f32>,
    visible: Vec<usize>,
}

impl Head {
    fn random(seed: u64, rows: usize, pages: usize, head_dim: usize) -> Self {
        let tokens = pages * PAGE_TOKENS;
        Self {
            head_dim,
            q: values(seed, rows * head_dim).iter().map(|q| q * 4.0).collect(),
            keys: values(seed ^ 1, tokens * head_dim),
            values: values(seed ^ 2, tokens * head_dim),
            visible: (0..rows).map(|row| 1 + (row * 37 + seed as usize % 11) % tokens).collect(),
        }
    }

    /// Normalised output of `rows`, by folding the pages in order.
    fn folded(&self, kernels: &Kernels, rows: std::ops::Range<usize>) -> Vec<f32> {
        let (precision, dim) = (kernels.precision(), self.head_dim);
        let q = operand(kernels, &self.q[rows.start * dim..rows.end * dim], dim);
        let (mut max, mut sum) = (vec![f32::NEG_INFINITY; rows.len()], vec![0.0; rows.len()]);
        let mut out = vec![[0.0; LANES]; rows.len() * dim.div_ceil(LANES)];
        let page = PAGE_TOKENS * dim;
        for (idx, (keys, values)) in self.keys.chunks_exact(page).zip(self.values.chunks_exact(page)).enumerate() {
            let channels: Vec<f32> = (0..page).map(|i| values[i % PAGE_TOKENS * dim + i / PAGE_TOKENS]).collect();
            let seen = |&v: &usize| v.saturating_sub(idx * PAGE_TOKENS).min(PAGE_TOKENS);
            let visible: Vec<usize> = self.visible[rows.clone()].iter().map(seen).collect();
            let (keys, values) = (panels(precision, keys, dim), panels(precision, &channels, PAGE_TOKENS));
            let view = FoldView {
                q: q.words(),
                keys: &keys,
                values: &values,
                visible: &visible,
                scale: std::f32::consts::LOG2_E / (dim as f32).sqrt(),
            };
            let states = FoldStates { max: &mut max, sum: &mut sum, out: &mut out };
            kernels.fold(view, states, &mut Scratch::default());
        }
        let per_row = dim.div_ceil(LANES);
        out.chunks(per_row).zip(sum).flat_map(|(o, s)| o.as_flattened()[..dim].iter().map(move |v| v / s)).collect()
    }

    /// The same by softmax over all visible tokens at once.
    fn oracle(&self, precision: Precision, row: usize) -> Vec<f64> {
        let dim = self.head_dim;
        let q = rounded(precision, &self.q[row * dim..][..dim]);
        let (keys, values) = (rounded(precision, &self.keys), rounded(precision, &self.values));
        let score = |token: usize| dot(&q, &keys[token * dim..][..dim]) / (dim as f64).sqrt();
        let weights: Vec<f64> = (0..self.visible[row]).map(|token| score(token).exp()).collect();
        let sum: f64 = weights.iter().sum();
        (0..dim).map(|d| weights.iter().enumerate().map(|(t, w)| w * values[t * dim + d]).sum::<f64>() / sum).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn folding_pages_is_softmax_attention(seed in 0u64..1 << 40, rows in 1usize..10, pages in 1usize..4, dim in 1usize..40) {
        let head = Head::random(seed, rows, pages, dim);
        for kernels in all_kernels() {
            let found = head.folded(&kernels, 0..rows);
            // In bf16 the weights are rounded before they meet the values.
            let tolerance = if kernels.precision() == Precision::F32 { 1e-5 } else { 8e-3 };
            for row in 0..rows {
                for (found, expected) in found[row * dim..].iter().zip(head.oracle(kernels.precision(), row)) {
                    prop_assert!((f64::from(*found) - expected).abs() < tolerance, "{kernels:?}: {found} {expected}");
                }
            }
        }
    }

    #[test]
    fn a_row_of_a_fold_does_not_depend_on_the_other_rows(seed in 0u64..1 << 40, rows in 2usize..12) {
        let head = Head::random(seed, rows, 3, 24);
        for kernels in all_kernels() {
            let alone: Vec<f32> = (0..rows).flat_map(|row| head.folded(&kernels, row..row + 1)).collect();
            prop_assert_eq!(alone, head.folded(&kernels, 0..rows));
        }
    }
}
