//! How a channel is coded: its code byte.

use crate::levels::values::ValueCoding;

/// Classes of spread that a code can say: all but the widest.
pub(super) const CODE_CLASSES: usize = 28;
/// Exponents of a channel's step: quarters of a power of two, up to one octave either way.
const EXPONENTS: u8 = 9;
const MIDDLE_EXPONENT: i8 = 4;

/// A channel that has values: its spread, and its step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ChannelCode {
    /// Class of spread, below [`CODE_CLASSES`].
    pub(super) class: usize,
    /// The channel's step is the plane's times `2^(exponent / 4)`; -4 to 4.
    pub(super) exponent: i8,
}

impl ChannelCode {
    /// The code; 0 is that of a channel without values.
    pub(super) fn to_byte(self) -> u8 {
        1 + self.class as u8 * EXPONENTS + (self.exponent + MIDDLE_EXPONENT) as u8
    }

    /// Inverse of [`Self::to_byte`], for bytes above 0 that have a meaning.
    pub(super) fn from_byte(byte: u8) -> Option<Self> {
        let code = byte.checked_sub(1)?;
        let class = usize::from(code / EXPONENTS);
        let exponent = (code % EXPONENTS).cast_signed() - MIDDLE_EXPONENT;
        (class < CODE_CLASSES).then_some(Self { class, exponent })
    }

    /// Model and window of the values.
    pub(super) fn values(self) -> ValueCoding {
        ValueCoding::new(self.class, 0)
    }
}

/// `2^(exponent / 4)` for an exponent of -4 to 4, from the nearest numbers.
pub(super) fn step_factor(exponent: i8) -> f32 {
    use std::f32::consts::{FRAC_1_SQRT_2, SQRT_2};
    const FACTORS: [f32; EXPONENTS as usize] =
        [0.5, 0.594_603_54, FRAC_1_SQRT_2, 0.840_896_4, 1.0, 1.189_207_1, SQRT_2, 1.681_792_8, 2.0];
    FACTORS[usize::from((exponent + MIDDLE_EXPONENT).cast_unsigned())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_bytes_say_the_same() {
        let codes: Vec<ChannelCode> = (0..=255).filter_map(ChannelCode::from_byte).collect();
        assert_eq!(codes.len(), CODE_CLASSES * usize::from(EXPONENTS));
        assert!(codes.iter().zip(1..).all(|(code, byte)| code.to_byte() == byte));
    }
}
