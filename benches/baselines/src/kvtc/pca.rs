//! Principal components.

use nalgebra::{DMatrix, DVector, SymmetricEigen};

/// Components whose variance is below this part of the largest are rounding, and left out.
const MIN_RELATIVE_VARIANCE: f64 = 1e-7;

/// A mean and an orthonormal basis, of falling variance.
#[derive(Debug)]
pub(super) struct Pca {
    mean: DVector<f32>,
    /// `[features, components]`.
    basis: DMatrix<f32>,
}

impl Pca {
    /// The basis of `features`, a column per token.
    ///
    /// Where there are fewer tokens than features, it comes from the products of tokens, which is the smaller matrix.
    pub(super) fn fit(mut features: DMatrix<f32>, max_components: usize) -> Self {
        let mean = features.column_mean();
        features.column_iter_mut().for_each(|mut column| column -= &mean);
        let basis = if features.nrows() <= features.ncols() {
            leading_vectors(&features * features.transpose(), max_components).1
        } else {
            let (variances, vectors) = leading_vectors(features.transpose() * &features, max_components);
            let mut basis = features * vectors;
            for (mut column, variance) in basis.column_iter_mut().zip(&variances) {
                column /= variance.sqrt() as f32;
            }
            basis
        };
        Self { mean, basis }
    }

    /// Components kept.
    pub(super) fn num_components(&self) -> usize {
        self.basis.ncols()
    }

    /// Features of a token.
    pub(super) fn num_features(&self) -> usize {
        self.basis.nrows()
    }

    /// The leading components only.
    pub(super) fn truncated(&self, num_components: usize) -> Self {
        let basis = self.basis.columns(0, num_components.min(self.basis.ncols())).into_owned();
        Self { mean: self.mean.clone(), basis }
    }

    /// `[tokens, components]` of features with a column per token.
    pub(super) fn project(&self, features: &DMatrix<f32>) -> DMatrix<f32> {
        let mut centered = features.transpose();
        let mean = self.mean.transpose();
        centered.row_iter_mut().for_each(|mut row| row -= &mean);
        centered * &self.basis
    }

    /// Features with a column per token, from `[tokens, components]`.
    pub(super) fn reconstruct(&self, components: &DMatrix<f32>) -> DMatrix<f32> {
        let mut features = &self.basis * components.transpose();
        features.column_iter_mut().for_each(|mut column| column += &self.mean);
        features
    }
}

/// Eigenvalues and vectors of a symmetric matrix, the largest first.
fn leading_vectors(matrix: DMatrix<f32>, max_components: usize) -> (Vec<f64>, DMatrix<f32>) {
    let eigen = SymmetricEigen::new(matrix.cast::<f64>());
    let mut order: Vec<usize> = (0..eigen.eigenvalues.len()).collect();
    order.sort_by(|a, b| eigen.eigenvalues[*b].total_cmp(&eigen.eigenvalues[*a]));
    let largest = order.first().map_or(0.0, |first| eigen.eigenvalues[*first]);
    order.truncate(max_components);
    order.retain(|idx| eigen.eigenvalues[*idx] > largest * MIN_RELATIVE_VARIANCE);
    let variances = order.iter().map(|idx| eigen.eigenvalues[*idx]).collect();
    (variances, eigen.eigenvectors.select_columns(&order).cast::<f32>())
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng, rngs::SmallRng};

    use super::*;

    /// Points on a plane through 12 dimensions, off the origin.
    fn flat(num_tokens: usize) -> DMatrix<f32> {
        let mut rng = SmallRng::seed_from_u64(7);
        let mut random = |rows, columns| DMatrix::from_fn(rows, columns, |_, _| rng.random_range(-1.0f32..1.0));
        (random(12, 2) * random(2, num_tokens)).add_scalar(3.0)
    }

    #[test]
    fn tokens_on_a_plane_need_two_components_whichever_matrix_is_smaller() {
        for num_tokens in [6, 40] {
            let features = flat(num_tokens);
            let pca = Pca::fit(features.clone(), 8).truncated(2);
            let back = pca.reconstruct(&pca.project(&features));
            assert!((back - features).amax() < 1e-4, "{num_tokens} tokens");
        }
    }
}
