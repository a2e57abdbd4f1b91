//! Code lengths of a channel under all models of a family at once.

use super::Isa;
use super::isa::Kind;
use crate::model::ALPHABET;

/// Models of a family, at most.
pub(crate) const MAX_MODELS: usize = 80;

/// Code lengths of symbols `2 p` and `2 p + 1` under each model: `[p][model]`.
pub(crate) type CostTable = [[[i16; 2]; MAX_MODELS]; ALPHABET / 2];

/// Sums of code lengths under each model. Counts and code lengths are at most 4096, so no sum overflows.
pub(crate) fn weigh(isa: Isa, counts: &[u16; ALPHABET], costs: &CostTable) -> [i32; MAX_MODELS] {
    match isa.kind() {
        Kind::Scalar => weigh_scalar(counts, costs),
        #[cfg(target_arch = "x86_64")]
        Kind::Avx2 => super::avx2::weigh(counts, costs),
    }
}

fn weigh_scalar(counts: &[u16; ALPHABET], costs: &CostTable) -> [i32; MAX_MODELS] {
    let mut sums = [0i32; MAX_MODELS];
    for (counts, costs) in counts.as_chunks::<2>().0.iter().zip(costs) {
        for (sum, costs) in sums.iter_mut().zip(costs) {
            *sum += i32::from(counts[0]) * i32::from(costs[0]) + i32::from(counts[1]) * i32::from(costs[1]);
        }
    }
    sums
}
