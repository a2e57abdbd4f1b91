//! How often the values of a channel occur near the least ones.

use super::Isa;
use super::isa::Kind;
use crate::rows::TileRows;

/// Values that are counted.
pub(crate) const COUNTED: usize = 16;

/// The least values of a channel, without outliers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LeastCounts {
    /// The least value below which lie no more than the outliers.
    pub(crate) least: u8,
    /// How often `least - 1`, `least`, and so on to `least + 14` occur; zero for what is not a byte.
    pub(crate) counts: [u16; COUNTED],
}

/// Counts the values of a channel from where no more than `outliers` of them lie below.
pub(crate) fn count_least(isa: Isa, rows: &TileRows, channel: usize, outliers: usize) -> LeastCounts {
    match isa.kind() {
        #[cfg(target_arch = "x86_64")]
        Kind::Avx2 | Kind::Avx512 if rows.num_tokens().is_multiple_of(32) => {
            super::avx2::count_least(rows, channel, outliers)
        }
        _ => count_scalar(rows, channel, outliers),
    }
}

fn count_scalar(rows: &TileRows, channel: usize, outliers: usize) -> LeastCounts {
    let mut all = [0u16; 256];
    rows.channel(channel).flatten().for_each(|&value| all[usize::from(value)] += 1);
    let mut below = 0;
    let reaches = |&count: &u16| {
        below += usize::from(count);
        below > outliers
    };
    let least = all.iter().position(reaches).unwrap_or(usize::from(u8::MAX));
    let mut counts = [0; COUNTED];
    for (count, value) in counts.iter_mut().zip(least as isize - 1..) {
        *count = usize::try_from(value).ok().and_then(|value| all.get(value)).copied().unwrap_or_default();
    }
    LeastCounts { least: least as u8, counts }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(isa: Isa, values: &[u8], outliers: usize) -> LeastCounts {
        let mut rows = TileRows::zeroed(1, values.len());
        rows.channel_mut(0).flatten().zip(values).for_each(|(place, &value)| *place = value);
        count_least(isa, &rows, 0, outliers)
    }

    #[test]
    fn all_instruction_sets_count_alike_at_both_ends() {
        for (first, spread) in [(0, 3), (0, 200), (1, 20), (120, 9), (250, 6), (255, 1)] {
            let values: Vec<u8> = (0..256u32).map(|i| first + (i * i / 7 % spread) as u8).collect();
            for outliers in [0, 1, 5, 255] {
                let expected = counts(Isa::SCALAR, &values, outliers);
                for isa in Isa::available() {
                    assert_eq!(counts(isa, &values, outliers), expected, "{isa} {first} {spread} {outliers}");
                }
            }
        }
    }

    #[test]
    fn outliers_are_left_out() {
        let mut values = [9; 64];
        (values[3], values[40], values[41]) = (2, 8, 23);
        let LeastCounts { least, counts } = counts(Isa::best(), &values, 1);
        assert_eq!((least, counts[0], counts[1], counts[2], counts[15]), (8, 0, 1, 61, 0));
    }
}
