//! Precision of a computation: how elements lie in the 32-bit words that the kernels read.

use kvdepot_codec::Dtype;

/// What weights, KV and the operands of matrix products are held in. Sums, norms and softmax are f32 in both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Precision {
    /// One f32 per word.
    F32,
    /// Two bf16 per word, the even element in the low half.
    Bf16,
}

impl Precision {
    /// Element type of the KV cache that this precision computes.
    pub const fn dtype(self) -> Dtype {
        match self {
            Self::F32 => Dtype::F32,
            Self::Bf16 => Dtype::Bf16,
        }
    }

    /// Words that hold `elements` elements.
    pub(crate) const fn words(self, elements: usize) -> usize {
        elements.div_ceil(self.elements_per_word())
    }

    const fn elements_per_word(self) -> usize {
        match self {
            Self::F32 => 1,
            Self::Bf16 => 2,
        }
    }

    /// Bits of the element nearest to `value`, ties to even.
    pub(crate) fn to_bits(self, value: f32) -> u32 {
        match self {
            Self::F32 => value.to_bits(),
            Self::Bf16 => bf16_bits(value),
        }
    }

    /// Value of an element's bits.
    pub(crate) fn to_value(self, bits: u32) -> f32 {
        match self {
            Self::F32 => f32::from_bits(bits),
            Self::Bf16 => f32::from_bits(bits << 16),
        }
    }

    /// Value of the element nearest to `value`.
    #[inline(always)]
    pub(crate) fn round(self, value: f32) -> f32 {
        match self {
            Self::F32 => value,
            Self::Bf16 => f32::from_bits(bf16_bits(value) << 16),
        }
    }

    /// Index of the word that holds element `idx`.
    pub(crate) fn word_of(self, idx: usize) -> usize {
        idx / self.elements_per_word()
    }

    /// Sets the bits of element `idx` within its word.
    pub(crate) fn insert(self, word: &mut u32, idx: usize, bits: u32) {
        match (self, idx % 2) {
            (Self::F32, _) => *word = bits,
            (Self::Bf16, 0) => *word = *word & 0xffff_0000 | bits,
            (Self::Bf16, _) => *word = *word & 0xffff | bits << 16,
        }
    }

    /// Bits of element `idx` within its word.
    pub(crate) fn extract(self, word: u32, idx: usize) -> u32 {
        match (self, idx % 2) {
            (Self::F32, _) => word,
            (Self::Bf16, 0) => word & 0xffff,
            (Self::Bf16, _) => word >> 16,
        }
    }

    /// Rounds `values` into `words`, of which there are [`Self::words`]; a last half word is padded with zero.
    #[inline(always)]
    pub(crate) fn pack(self, values: &[f32], words: &mut [u32]) {
        match self {
            Self::F32 => {
                for (word, value) in words.iter_mut().zip(values) {
                    *word = value.to_bits();
                }
            }
            Self::Bf16 => {
                let (pairs, last) = values.as_chunks::<2>();
                for (word, [low, high]) in words.iter_mut().zip(pairs) {
                    *word = bf16_bits(*low) | bf16_bits(*high) << 16;
                }
                if let ([value], Some(word)) = (last, words.last_mut()) {
                    *word = bf16_bits(*value);
                }
            }
        }
    }
}

impl std::fmt::Display for Precision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.dtype().fmt(f)
    }
}

/// Rounds to bf16, nearest, ties to even; NaN stays NaN. Plain integer code, which vectorizes.
#[inline(always)]
fn bf16_bits(value: f32) -> u32 {
    let bits = value.to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
    if value.is_nan() { bits >> 16 | 0x40 } else { rounded }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn bf16_rounding_is_that_of_half(bits: u32) {
            let value = f32::from_bits(bits);
            prop_assert_eq!(bf16_bits(value), u32::from(half::bf16::from_f32(value).to_bits()));
        }

        #[test]
        fn packed_elements_are_found_where_they_were_put(values in prop::collection::vec(-1e3f32..1e3, 1..40)) {
            for precision in [Precision::F32, Precision::Bf16] {
                let mut words = vec![u32::MAX; precision.words(values.len())];
                precision.pack(&values, &mut words);
                for (idx, &value) in values.iter().enumerate() {
                    let bits = precision.extract(words[precision.word_of(idx)], idx);
                    prop_assert_eq!(bits, precision.to_bits(value));
                    precision.insert(&mut words[precision.word_of(idx)], idx, bits);
                    prop_assert_eq!(precision.extract(words[precision.word_of(idx)], idx), bits);
                }
            }
        }
    }
}
