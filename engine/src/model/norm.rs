//! Root-mean-square norm.

use crate::rows::Rows;
use crate::simd::{Form, LANES, Operand};

/// `x / sqrt(mean(x^2) + eps) * weight`.
#[derive(Debug)]
pub(crate) struct RmsNorm {
    pub(crate) weight: Vec<f32>,
    pub(crate) eps: f32,
}

impl RmsNorm {
    /// Normalises each row.
    pub(crate) fn rows(&self, x: &Rows) -> Rows {
        let mut normalised = x.clone();
        normalised.for_each(|_, row| self.apply(row));
        normalised
    }

    /// Normalises each row into operands of a product.
    pub(crate) fn pack(&self, x: &Rows, form: Form) -> Operand {
        x.pack_map(form, x.cols(), |row, out| {
            out.copy_from_slice(row);
            self.apply(out);
        })
    }

    /// Normalises one row, or one head, in place.
    pub(crate) fn apply(&self, row: &mut [f32]) {
        let scale = 1.0 / (sum_of_squares(row) / row.len() as f32 + self.eps).sqrt();
        row.iter_mut().zip(&self.weight).for_each(|(value, weight)| *value = *value * scale * weight);
    }
}

/// Sums in sixteen lanes, then over the lanes: one order, and one that vectorizes.
fn sum_of_squares(row: &[f32]) -> f32 {
    let mut lanes = [0.0; LANES];
    let (groups, rest) = row.as_chunks::<LANES>();
    for group in groups {
        lanes.iter_mut().zip(group).for_each(|(lane, value)| *lane += value * value);
    }
    lanes.iter_mut().zip(rest).for_each(|(lane, value)| *lane += value * value);
    lanes.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_normalised_row_has_unit_mean_square() {
        let norm = RmsNorm { weight: vec![2.0; 37], eps: 0.0 };
        let mut row: Vec<f32> = (0..37).map(|i| i as f32 - 11.0).collect();
        norm.apply(&mut row);
        assert!((sum_of_squares(&row) / 37.0 - 4.0).abs() < 1e-5);
    }
}
