//! Code lengths of a channel under all models of a family at once.

use super::Isa;
use super::isa::Kind;
use crate::model::MAX_ALPHABET;

/// Code lengths by symbol, then by model: models lie side by side.
pub(crate) type CostTable = [[u32; MAX_ALPHABET]; MAX_ALPHABET];

/// Counts symbols below 32.
pub(crate) fn histogram(isa: Isa, symbols: &[u8]) -> [u32; MAX_ALPHABET] {
    match isa.kind() {
        Kind::Scalar => histogram_scalar(symbols),
        #[cfg(target_arch = "x86_64")]
        Kind::Avx512 => super::avx512::histogram(symbols),
    }
}

fn histogram_scalar(symbols: &[u8]) -> [u32; MAX_ALPHABET] {
    let mut counts = [0u32; MAX_ALPHABET];
    symbols.iter().for_each(|&symbol| counts[usize::from(symbol)] += 1);
    counts
}

/// Sums of code lengths under each model; `counts` has the alphabet's length. A channel has at most 4096 symbols of at
/// most 12 bits, in units of 2^-8, so no sum overflows.
pub(crate) fn weigh(isa: Isa, counts: &[u32], costs: &CostTable) -> [u32; MAX_ALPHABET] {
    match isa.kind() {
        Kind::Scalar => weigh_scalar(counts, costs),
        #[cfg(target_arch = "x86_64")]
        Kind::Avx512 => super::avx512::weigh(counts, costs),
    }
}

fn weigh_scalar(counts: &[u32], costs: &CostTable) -> [u32; MAX_ALPHABET] {
    let mut sums = [0u32; MAX_ALPHABET];
    for (&count, costs) in counts.iter().zip(costs) {
        for (sum, &cost) in sums.iter_mut().zip(costs) {
            *sum = sum.wrapping_add(count.wrapping_mul(cost));
        }
    }
    sums
}
