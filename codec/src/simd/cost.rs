//! Code lengths of a channel under all models of a family at once.

use super::Isa;
use super::isa::Kind;
use crate::model::ALPHABET;

/// Models of a family, at most.
pub(crate) const MAX_MODELS: usize = 80;

/// Code lengths of symbols `2 p` and `2 p + 1` under each model: `[p][model]`.
pub(crate) type CostTable = [[[i16; 2]; MAX_MODELS]; ALPHABET / 2];

/// The first of the models under which the sum of code lengths is least, and that sum.
///
/// Counts are at most 4096 in all and code lengths below 2^15, so that no sum overflows.
pub(crate) fn cheapest(isa: Isa, counts: &[u16; ALPHABET], costs: &CostTable) -> (u8, i32) {
    match isa.kind() {
        Kind::Scalar => cheapest_scalar(counts, costs),
        #[cfg(target_arch = "x86_64")]
        Kind::Avx2 | Kind::Avx512 => super::avx2::cheapest(counts, costs),
    }
}

fn cheapest_scalar(counts: &[u16; ALPHABET], costs: &CostTable) -> (u8, i32) {
    let mut sums = [0i32; MAX_MODELS];
    for (counts, costs) in counts.as_chunks::<2>().0.iter().zip(costs) {
        for (sum, costs) in sums.iter_mut().zip(costs) {
            *sum += i32::from(counts[0]) * i32::from(costs[0]) + i32::from(counts[1]) * i32::from(costs[1]);
        }
    }
    (0..).zip(sums).min_by_key(|&(_, sum)| sum).unwrap_or_default()
}
