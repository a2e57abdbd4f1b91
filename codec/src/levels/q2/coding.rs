//! How a channel of a plane is coded: its parameter byte.

use std::sync::LazyLock;

use super::quantizer::Bins;
use crate::levels::values::{ValueCoding, class_for};
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
#[derive(Debug, Clone, Copy)]
pub(super) struct Codes {
    center: i16,
    codings: &'static CodingTable,
}

/// The coding of each code.
type CodingTable = [Option<ChannelCoding>; 256];

/// The codings of codes with `C` as their center.
fn table(center: u8) -> CodingTable {
    let codes = Codes { center: i16::from(center), codings: &[None; 256] };
    std::array::from_fn(|code| codes.meaning(code as u8))
}

impl Codes {
    /// The codes of a plane.
    pub(super) fn new(bins: Bins) -> Self {
        static TABLES: LazyLock<[CodingTable; 2]> =
            LazyLock::new(|| [Bins::Sixteen, Bins::ThirtyTwo].map(|bins| table(bins.center())));
        let [sixteen, thirty_two] = &*TABLES;
        let codings = match bins {
            Bins::Sixteen => sixteen,
            Bins::ThirtyTwo => thirty_two,
        };
        Self { center: i16::from(bins.center()), codings }
    }

    /// Centres of a row on either side of the middle.
    fn reach(self, row: usize) -> i16 {
        self.center / ROWS[row].1
    }

    /// Codes of a row.
    fn count(self, row: usize) -> i16 {
        2 * self.reach(row) + 1
    }

    /// The coding of a code; nothing where it has no meaning.
    pub(super) fn coding(self, code: u8) -> Option<ChannelCoding> {
        self.codings[usize::from(code)]
    }

    fn meaning(self, code: u8) -> Option<ChannelCoding> {
        match code {
            ALL_ZERO => return Some(ChannelCoding::Constant(0)),
            ALL_LEAST => return Some(ChannelCoding::Constant(-self.center as i8)),
            _ => {}
        }
        let mut rest = i16::from(code) - CONSTANTS;
        for (row, (class, spacing)) in ROWS.into_iter().enumerate() {
            if rest < self.count(row) {
                let centre = (rest - self.reach(row)) * spacing;
                return Some(ChannelCoding::Coded(ValueCoding::new(class, centre as i8)));
            }
            rest -= self.count(row);
        }
        None
    }

    /// The code for values of which these are the sums.
    pub(super) fn choose(self, moments: Moments, num_tokens: usize) -> u8 {
        let (sum, squares) = (i64::from(moments.sum), i64::from(moments.squares));
        let (tokens, least) = (num_tokens as i64, -i64::from(self.center));
        if squares == 0 {
            return ALL_ZERO;
        }
        if sum == tokens * least {
            return ALL_LEAST;
        }
        let variance = ((tokens * squares - sum * sum) << 10) / (tokens * tokens);
        let class = class_for(variance as u64);
        let row = ROWS.partition_point(|row| row.0 < class).min(ROWS.len() - 1);
        let spacing = tokens * i64::from(ROWS[row].1);
        let reach = i64::from(self.reach(row));
        let nearest = (2 * sum + spacing).div_euclid(2 * spacing).clamp(-reach, reach);
        let before: i16 = (0..row).map(|row| self.count(row)).sum();
        (CONSTANTS + before + (nearest + reach) as i16) as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_fill_a_byte_at_32_bins_and_half_of_it_at_16() {
        let meanings = |bins| (0..=255u8).filter(|&code| Codes::new(bins).coding(code).is_some()).count();
        assert_eq!((meanings(Bins::ThirtyTwo), meanings(Bins::Sixteen)), (236, 114));
    }

    #[test]
    fn equal_values_take_the_narrowest_width_about_them() {
        for value in [-14i32, 3, 7] {
            let moments = Moments { sum: 40 * value, squares: (40 * value * value) as u32 };
            let code = Codes::new(Bins::ThirtyTwo).choose(moments, 40);
            let coding = Codes::new(Bins::ThirtyTwo).coding(code).unwrap().coded().unwrap();
            assert_eq!((i32::from(coding.window.base.cast_signed()) + 1, coding.window.raw_bits), (value, 0));
        }
        assert_eq!(Codes::new(Bins::ThirtyTwo).choose(Moments::default(), 40), ALL_ZERO);
        let least = Moments { sum: -15 * 40, squares: 225 * 40 };
        assert_eq!(Codes::new(Bins::ThirtyTwo).choose(least, 40), ALL_LEAST);
    }

    #[test]
    fn every_choice_has_a_meaning() {
        for bins in [Bins::Sixteen, Bins::ThirtyTwo] {
            let codes = Codes::new(bins);
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
