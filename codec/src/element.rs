//! Elements of K and V as bits: how each dtype is loaded, stored, split for coding and turned into `f32`.

use half::{bf16, f16};

/// A floating-point element. Its bits lie in the low end of a `u32`: sign, exponent, mantissa from the top.
pub(crate) trait Element: Copy {
    /// Bytes of one element.
    const BYTES: usize;
    /// Bits of the biased exponent.
    const EXPONENT_BITS: u32;
    /// Bits of the mantissa.
    const MANTISSA_BITS: u32;
    /// Bits that lossless coding leaves raw: sign and mantissa.
    const RAW_BITS: u32 = Self::MANTISSA_BITS + 1;
    /// Whether this is [`bf16`], for which there are vector paths.
    const IS_BF16: bool = Self::BYTES == 2 && Self::EXPONENT_BITS == 8;
    /// All bits but the sign.
    const MAGNITUDE: u32 = (1u32 << (Self::EXPONENT_BITS + Self::MANTISSA_BITS)) - 1;
    /// Largest biased exponent.
    const MAX_EXPONENT: u8 = ((1u32 << Self::EXPONENT_BITS) - 1) as u8;

    /// Bits of the little-endian element in `bytes`, which are [`Self::BYTES`] long.
    fn load(bytes: &[u8]) -> u32;
    /// Writes `bits` to `bytes`, which are [`Self::BYTES`] long.
    fn store(bits: u32, bytes: &mut [u8]);
    /// The value, exactly.
    fn to_f32(bits: u32) -> f32;
    /// The nearest value, ties to even.
    fn from_f32(value: f32) -> u32;

    /// Biased exponent, and the raw bits: the sign above the mantissa.
    fn split(bits: u32) -> (u8, u32) {
        let exponent = (bits >> Self::MANTISSA_BITS) & u32::from(Self::MAX_EXPONENT);
        let sign = bits >> (Self::MANTISSA_BITS + Self::EXPONENT_BITS);
        (exponent as u8, (sign << Self::MANTISSA_BITS) | (bits & ((1 << Self::MANTISSA_BITS) - 1)))
    }

    /// Inverse of [`Self::split`].
    fn join(exponent: u8, raw: u32) -> u32 {
        let sign = raw >> Self::MANTISSA_BITS;
        let mantissa = raw & ((1 << Self::MANTISSA_BITS) - 1);
        (sign << (Self::MANTISSA_BITS + Self::EXPONENT_BITS)) | (u32::from(exponent) << Self::MANTISSA_BITS) | mantissa
    }
}

macro_rules! half_element {
    ($type:ty, $exponent_bits:literal, $mantissa_bits:literal) => {
        impl Element for $type {
            const BYTES: usize = 2;
            const EXPONENT_BITS: u32 = $exponent_bits;
            const MANTISSA_BITS: u32 = $mantissa_bits;

            fn load(bytes: &[u8]) -> u32 {
                let mut array = [0; 2];
                array.copy_from_slice(bytes);
                u32::from(u16::from_le_bytes(array))
            }

            fn store(bits: u32, bytes: &mut [u8]) {
                bytes.copy_from_slice(&(bits as u16).to_le_bytes());
            }

            fn to_f32(bits: u32) -> f32 {
                Self::from_bits(bits as u16).to_f32()
            }

            fn from_f32(value: f32) -> u32 {
                u32::from(Self::from_f32(value).to_bits())
            }
        }
    };
}

half_element!(bf16, 8, 7);
half_element!(f16, 5, 10);

impl Element for f32 {
    const BYTES: usize = 4;
    const EXPONENT_BITS: u32 = 8;
    const MANTISSA_BITS: u32 = 23;

    fn load(bytes: &[u8]) -> u32 {
        let mut array = [0; 4];
        array.copy_from_slice(bytes);
        u32::from_le_bytes(array)
    }

    fn store(bits: u32, bytes: &mut [u8]) {
        bytes.copy_from_slice(&bits.to_le_bytes());
    }

    fn to_f32(bits: u32) -> f32 {
        Self::from_bits(bits)
    }

    fn from_f32(value: f32) -> u32 {
        value.to_bits()
    }
}

/// Calls `$function::<E>(..)` for the [`Element`] of a dtype.
macro_rules! with_element {
    ($dtype:expr, $function:path, $($argument:expr),*) => {{
        use $function as function;
        match $dtype {
            $crate::Dtype::Bf16 => function::<half::bf16>($($argument),*),
            $crate::Dtype::F16 => function::<half::f16>($($argument),*),
            $crate::Dtype::F32 => function::<f32>($($argument),*),
        }
    }};
}
pub(crate) use with_element;

#[cfg(test)]
mod tests {
    use super::*;

    fn splits_and_joins<E: Element>(patterns: impl Iterator<Item = u32>) {
        for bits in patterns {
            let (exponent, raw) = E::split(bits);
            assert!(exponent <= E::MAX_EXPONENT && raw < 1 << E::RAW_BITS);
            assert_eq!(E::join(exponent, raw), bits);
        }
    }

    #[test]
    fn join_undoes_split_for_every_pattern() {
        splits_and_joins::<bf16>(0..=0xffff);
        splits_and_joins::<f16>(0..=0xffff);
        splits_and_joins::<f32>((0..=u32::MAX).step_by(65_521));
    }
}
