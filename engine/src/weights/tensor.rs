//! One tensor, as it was stored.

use half::{bf16, f16};
use kvdepot_codec::Dtype;

/// Elements of a tensor in memory, in the type they were stored in; a matrix is `[rows, cols]`, row-major.
#[derive(Debug)]
pub(crate) struct Tensor {
    dtype: Dtype,
    cols: usize,
    bytes: Vec<u8>,
}

impl Tensor {
    /// `bytes` are little-endian elements of `shape`.
    pub(super) fn new(dtype: Dtype, shape: &[usize], bytes: Vec<u8>) -> Self {
        Self { dtype, cols: shape.last().copied().unwrap_or(1), bytes }
    }

    pub(crate) fn num_rows(&self) -> usize {
        self.bytes.len() / (self.cols * self.dtype.bytes())
    }

    /// Elements of one row, or of the whole vector.
    pub(crate) fn cols(&self) -> usize {
        self.cols
    }

    /// Decodes a row into `out`, which has as many elements.
    pub(crate) fn read_row(&self, row: usize, out: &mut [f32]) {
        let row_bytes = self.cols * self.dtype.bytes();
        let bytes = &self.bytes[row * row_bytes..(row + 1) * row_bytes];
        match self.dtype {
            Dtype::F32 => decode(bytes, out, f32::from_le_bytes),
            Dtype::F16 => decode(bytes, out, |element| f16::from_le_bytes(element).to_f32()),
            Dtype::Bf16 => decode(bytes, out, |element| bf16::from_le_bytes(element).to_f32()),
        }
    }

    /// All elements of a vector.
    pub(crate) fn to_vector(&self) -> Vec<f32> {
        let mut values = vec![0.0; self.cols];
        self.read_row(0, &mut values);
        values
    }
}

fn decode<const N: usize>(bytes: &[u8], out: &mut [f32], value: impl Fn([u8; N]) -> f32) {
    for (out, element) in out.iter_mut().zip(bytes.as_chunks::<N>().0) {
        *out = value(*element);
    }
}
