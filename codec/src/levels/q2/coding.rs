//! How a channel of a plane is coded: its parameter byte.

use std::sync::LazyLock;

use super::quantizer::Bins;
use crate::levels::values::{ValueCoding, width_for};
use crate::simd::Moments;

/// For each of the first widths, the distance of the centres that it has codes for: a little less than its deviation.
const SPACINGS: [i16; 11] = [1, 1, 1, 1, 1, 1, 1, 2, 2, 3, 4];
/// Centres of the narrowest width, on either side of the middle, at most: so that all codes fit a byte.
const NARROWEST_REACH: i16 = 9;
/// The code of a channel whose values are all zero, and of one whose values are all `-C`, as where scales are zero.
const ALL_ZERO: u8 = 0;
const ALL_LEAST: u8 = 1;
/// Codes that are not of a width and a centre.
const CONSTANTS: i16 = 2;

/// What a parameter byte can say of a channel.
#[derive(Debug, Clone, Copy)]
pub(super) enum ChannelCoding {
    /// Every value is this.
    Constant(i8),
    /// Values under a model.
    Coded(ValueCoding),
}

impl ChannelCoding {
    /// The coding of the values, if they are coded.
    pub(super) fn coded(self) -> Option<ValueCoding> {
        match self {
            Self::Coded(coding) => Some(coding),
            Self::Constant(_) => None,
        }
    }
}

/// The meanings of parameter bytes: the constants, then each width with its centres.
#[derive(Debug)]
pub(super) struct Codes {
    center: i16,
    widths: [WidthCodes; SPACINGS.len()],
    /// Of each code; nothing where it has no meaning.
    codings: [Option<ChannelCoding>; 256],
}

/// The codes of a width.
#[derive(Debug, Clone, Copy)]
struct WidthCodes {
    /// Distance of the centres.
    spacing: i16,
    /// Centres on either side of the middle.
    reach: i16,
    /// The code of the middle.
    middle: i16,
}

impl Codes {
    /// The codes of a plane.
    pub(super) fn of(bins: Bins) -> &'static Self {
        static CODES: LazyLock<[Codes; 2]> =
            LazyLock::new(|| [Bins::Sixteen, Bins::ThirtyTwo].map(|bins| Codes::new(bins.center())));
        match bins {
            Bins::Sixteen => &CODES[0],
            Bins::ThirtyTwo => &CODES[1],
        }
    }

    fn new(center: u8) -> Self {
        let center = i16::from(center);
        let mut first = CONSTANTS;
        let widths = std::array::from_fn(|width| {
            let limit = if width == 0 { NARROWEST_REACH } else { i16::MAX };
            let reach = limit.min(center / SPACINGS[width]);
            let middle = first + reach;
            first += 2 * reach + 1;
            WidthCodes { spacing: SPACINGS[width], reach, middle }
        });
        let mut codings = [None; 256];
        codings[usize::from(ALL_ZERO)] = Some(ChannelCoding::Constant(0));
        codings[usize::from(ALL_LEAST)] = Some(ChannelCoding::Constant(-center as i8));
        for (width, WidthCodes { spacing, reach, middle }) in widths.iter().enumerate() {
            for step in -reach..=*reach {
                let coding = ValueCoding::new(width, (step * spacing) as i8);
                codings[(middle + step) as usize] = Some(ChannelCoding::Coded(coding));
            }
        }
        Self { center, widths, codings }
    }

    /// The coding of a code; nothing where it has no meaning.
    pub(super) fn coding(&self, code: u8) -> Option<ChannelCoding> {
        self.codings[usize::from(code)]
    }

    /// The code for values of which these are the sums.
    pub(super) fn choose(&self, moments: Moments, num_tokens: usize) -> u8 {
        let (sum, squares) = (i64::from(moments.sum), i64::from(moments.squares));
        let (tokens, least) = (num_tokens as i64, -i64::from(self.center));
        if squares == 0 {
            return ALL_ZERO;
        }
        if sum == tokens * least {
            return ALL_LEAST;
        }
        // In units of 2^-10, and times the square of the tokens.
        let variance = (tokens * squares - sum * sum) << 10;
        let width = width_for(variance as u64, (tokens * tokens) as u64, SPACINGS.len());
        let WidthCodes { spacing, reach, middle } = self.widths[width];
        // Below 2^18: narrow integers are divided faster.
        let (sum, spacing, reach) = (sum as i32, num_tokens as i32 * i32::from(spacing), i32::from(reach));
        let nearest = (2 * sum + spacing).div_euclid(2 * spacing).clamp(-reach, reach);
        (middle + nearest as i16) as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_fill_a_byte_at_32_bins_and_half_of_it_at_16() {
        let meanings = |bins| (0..=255u8).filter(|&code| Codes::of(bins).coding(code).is_some()).count();
        assert_eq!((meanings(Bins::ThirtyTwo), meanings(Bins::Sixteen)), (255, 129));
    }

    #[test]
    fn equal_values_take_the_narrowest_width_about_them() {
        for value in [-9i32, 3, 7] {
            let moments = Moments { sum: 40 * value, squares: (40 * value * value) as u32 };
            let code = Codes::of(Bins::ThirtyTwo).choose(moments, 40);
            let coding = Codes::of(Bins::ThirtyTwo).coding(code).unwrap().coded().unwrap();
            assert_eq!((i32::from(coding.window.base.cast_signed()) + 1, coding.window.raw_bits), (value, 0));
        }
        assert_eq!(Codes::of(Bins::ThirtyTwo).choose(Moments::default(), 40), ALL_ZERO);
        let least = Moments { sum: -15 * 40, squares: 225 * 40 };
        assert_eq!(Codes::of(Bins::ThirtyTwo).choose(least, 40), ALL_LEAST);
    }

    #[test]
    fn every_choice_has_a_meaning() {
        for bins in [Bins::Sixteen, Bins::ThirtyTwo] {
            let codes = Codes::of(bins);
            let center = i32::from(bins.center());
            for low in -center..=center {
                for high in low..=center {
                    let moments =
                        Moments { sum: 9 * low + 7 * high, squares: (9 * low * low + 7 * high * high) as u32 };
                    assert!(codes.coding(codes.choose(moments, 16)).is_some());
                }
            }
        }
    }
}
