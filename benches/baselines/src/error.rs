//! How far decoded KV is from the original.

use kvdepot_codec::{KvChunk, Side};

use crate::elements;

/// Root of the squared error of all elements of one side, over the root of their squares: 0 is exact, 1 is as good as zeros.
///
/// `pairs`: original and decoded chunks of one shape each.
pub fn relative_error<'a>(pairs: impl IntoIterator<Item = (&'a KvChunk, &'a KvChunk)>, side: Side) -> f64 {
    let (mut errors, mut squares) = (0f64, 0f64);
    let (mut original, mut decoded) = (Vec::new(), Vec::new());
    for (chunk, other) in pairs {
        let dtype = chunk.geometry().dtype();
        for layer in 0..chunk.geometry().num_layers() {
            elements::load(dtype, chunk.plane(layer, side), &mut original);
            elements::load(dtype, other.plane(layer, side), &mut decoded);
            for (value, decoded) in original.iter().zip(&decoded) {
                let error = f64::from(*decoded) - f64::from(*value);
                errors += error * error;
                squares += f64::from(*value) * f64::from(*value);
            }
        }
    }
    if errors == 0.0 { 0.0 } else { (errors / squares).sqrt() }
}
