//! Measured distortion: what a segment says about its own error.

use crate::simd::HeadErrors;

/// How far the decoded elements of a segment are from the encoded ones, measured by the encoder.
///
/// All zero for lossless levels.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Distortion {
    /// Mean of the squared error over all elements.
    pub mse: f64,
    /// Largest absolute error of an element.
    pub max_error: f64,
    /// Largest L2 norm of the error of one head of one token. For keys it bounds the error of an attention logit: that
    /// is at most this times the norm of the query (Cauchy-Schwarz), before the scale.
    pub max_head_error_norm: f64,
}

/// Sums up errors, in the order in which `FORMAT.md` has them summed.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ErrorMeter {
    sum_of_squares: f64,
    max_error: f64,
    max_head_square: f64,
    num_elements: u64,
}

impl ErrorMeter {
    /// Takes in the errors of one head of `head_dim` channels.
    pub(crate) fn add_head(&mut self, errors: &HeadErrors, head_dim: usize) {
        for partial in &errors.squares {
            // What is beyond the range of f32 counts as its largest number.
            let square = partial.iter().fold(0.0, |sum, &partial| sum + f64::from(partial.min(f32::MAX)));
            self.sum_of_squares += square;
            self.max_head_square = self.max_head_square.max(square);
        }
        let largest = errors.largest.iter().fold(0.0, |largest: f32, &error| largest.max(error));
        self.max_error = self.max_error.max(f64::from(largest.min(f32::MAX)));
        self.num_elements += (errors.squares.len() * head_dim) as u64;
    }

    /// The distortion of all that was taken in.
    pub(crate) fn distortion(&self) -> Distortion {
        Distortion {
            mse: self.sum_of_squares / self.num_elements.max(1) as f64,
            max_error: self.max_error,
            max_head_error_norm: self.max_head_square.sqrt(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distortion_is_mean_maximum_and_largest_head_norm() {
        let mut meter = ErrorMeter::default();
        let mut errors = HeadErrors::default();
        errors.clear(1);
        errors.add(0, 0, 3.0);
        errors.add(0, 1, -4.0);
        meter.add_head(&errors, 2);
        let mut errors = HeadErrors::default();
        errors.clear(1);
        errors.add(0, 1, 1.0);
        meter.add_head(&errors, 2);
        assert_eq!(meter.distortion(), Distortion { mse: 26.0 / 4.0, max_error: 4.0, max_head_error_norm: 5.0 });
    }

    #[test]
    fn nothing_taken_in_is_no_distortion() {
        assert_eq!(ErrorMeter::default().distortion(), Distortion::default());
    }
}
