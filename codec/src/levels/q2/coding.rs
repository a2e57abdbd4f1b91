//! How a channel of a plane is coded: its parameter byte.

use std::sync::LazyLock;

use super::quantizer::Bins;
use crate::levels::values::{CLASSES, ValueCoding, class_for};
use crate::simd::Moments;

/// The classes that channels are coded with, and the distance of the centres that each has codes for: less than its
/// deviation, which grows by the square root of two from 0.25.
const ROWS: [(usize, i16); 10] = [(0, 1), (4, 1), (6, 1), (8, 1), (10, 1), (12, 1), (14, 2), (16, 2), (18, 3), (20, 4)];
/// The code of a channel whose values are all zero, and of one whose values are all `-C`, as where scales are zero.
const ALL_ZERO: u8 = 0;
const ALL_LEAST: u8 = 1;
/// Codes that are not of a class and a centre.
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

/// The meanings of parameter bytes: the constants, then each class with its centres.
#[derive(Debug)]
pub(super) struct Codes {
    center: i16,
    rows: [Row; ROWS.len()],
    /// Of each class, the first row that is as wide, or the widest.
    row_of_class: [u8; CLASSES],
    /// Of each code; nothing where it has no meaning.
    codings: [Option<ChannelCoding>; 256],
}

/// The codes of one of [`ROWS`].
#[derive(Debug, Clone, Copy)]
struct Row {
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
        let rows = ROWS.map(|(_, spacing)| {
            let reach = center / spacing;
            let middle = first + reach;
            first += 2 * reach + 1;
            Row { spacing, reach, middle }
        });
        let mut codings = [None; 256];
        codings[usize::from(ALL_ZERO)] = Some(ChannelCoding::Constant(0));
        codings[usize::from(ALL_LEAST)] = Some(ChannelCoding::Constant(-center as i8));
        for ((class, _), Row { spacing, reach, middle }) in ROWS.into_iter().zip(rows) {
            for step in -reach..=reach {
                let coding = ValueCoding::new(class, (step * spacing) as i8);
                codings[(middle + step) as usize] = Some(ChannelCoding::Coded(coding));
            }
        }
        let row_of = |class| ROWS.partition_point(|row| row.0 < class).min(ROWS.len() - 1);
        Self { center, rows, row_of_class: std::array::from_fn(|class| row_of(class) as u8), codings }
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
        // The variance, in units of 2^-10, over the tokens twice: comparing it takes no division.
        let variance = ((tokens * squares - sum * sum) << 10) as u64;
        let class = class_for(variance, num_tokens as u64 * num_tokens as u64);
        let Row { spacing, reach, middle } = self.rows[usize::from(self.row_of_class[class])];
        // Below 2^18: narrow integers are divided faster.
        let (sum, spacing, reach) = (sum as i32, num_tokens as i32 * i32::from(spacing), i32::from(reach));
        let nearest = if sum.unsigned_abs() * 2 < spacing.unsigned_abs() {
            0
        } else {
            (2 * sum + spacing).div_euclid(2 * spacing).clamp(-reach, reach)
        };
        (middle + nearest as i16) as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_fill_a_byte_at_32_bins_and_half_of_it_at_16() {
        let meanings = |bins| (0..=255u8).filter(|&code| Codes::of(bins).coding(code).is_some()).count();
        assert_eq!((meanings(Bins::ThirtyTwo), meanings(Bins::Sixteen)), (236, 114));
    }

    #[test]
    fn equal_values_take_the_narrowest_width_about_them() {
        for value in [-14i32, 3, 7] {
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
