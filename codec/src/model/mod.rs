//! The static probability models of the entropy coder: baked integers, part of the format version.
//!
//! A model is a distribution over 16 or 32 symbols in units of 2^-12. Three families make up [`ModelSet`]; which one a
//! channel uses, and what its symbols mean, is its level's business.

mod lanes;
mod tables;

use std::sync::LazyLock;

use crate::simd::CostTable;
pub(crate) use lanes::{CONSTANT, LaneTable, MAX_ALPHABET};

/// Id of the model set of this build, as segment headers carry it.
pub(crate) const MODEL_SET: u8 = 1;
/// Probabilities are multiples of 2^-12.
pub(crate) const PROBABILITY_BITS: u32 = 12;
const SLOTS: usize = 1 << PROBABILITY_BITS;

/// Code lengths are counted in units of 2^-8 bit.
pub(crate) const COST_BITS: u32 = 8;

/// A distribution over the symbols `0..alphabet`, prepared for coding in both directions.
#[derive(Debug)]
pub(crate) struct Model {
    slices: Vec<Slice>,
    costs: Vec<u32>,
    slots: Box<[Slot; SLOTS]>,
    lanes: LaneTable,
}

/// A symbol's part of the 2^12 slots.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slice {
    /// First slot.
    pub(crate) start: u32,
    /// Number of slots: the probability times 2^12.
    pub(crate) freq: u32,
}

/// What a decoder needs to know of one slot: symbol (5 bits), freq (12 bits), the slot's place in its slice (12 bits).
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Slot(u32);

impl Slot {
    fn new(symbol: usize, freq: u32, place: u32) -> Self {
        Self((symbol as u32) << 24 | freq << 12 | place)
    }

    pub(crate) fn symbol(self) -> u8 {
        (self.0 >> 24) as u8
    }

    pub(crate) fn freq(self) -> u32 {
        (self.0 >> 12) & 0xfff
    }

    pub(crate) fn place(self) -> u32 {
        self.0 & 0xfff
    }
}

impl Model {
    fn new(freqs: &[u16]) -> Self {
        let mut slots = Box::new([Slot::default(); SLOTS]);
        let mut slices = Vec::with_capacity(freqs.len());
        let mut start = 0;
        for (symbol, freq) in freqs.iter().map(|&freq| u32::from(freq)).enumerate() {
            for place in 0..freq {
                slots[(start + place) as usize] = Slot::new(symbol, freq, place);
            }
            slices.push(Slice { start, freq });
            start += freq;
        }
        let costs = slices.iter().map(|slice| cost(slice.freq)).collect();
        let lanes = LaneTable::new(&slices);
        Self { slices, costs, slots, lanes }
    }

    /// A model whose probability depends on the circular distance from symbol 0: `by_distance` gives the distances from
    /// 0 to half of the alphabet.
    fn circular(by_distance: &[u16]) -> Self {
        let half = by_distance.len() - 1;
        let freqs: Vec<u16> = (0..2 * half).map(|symbol| by_distance[symbol.min(2 * half - symbol)]).collect();
        Self::new(&freqs)
    }

    /// The slots of `symbol`, which is below the alphabet's size.
    pub(crate) fn slice(&self, symbol: u8) -> Slice {
        self.slices[usize::from(symbol)]
    }

    /// The slot in the low bits of a coder's state.
    pub(crate) fn slot(&self, state: u32) -> Slot {
        self.slots[state as usize % SLOTS]
    }

    /// The model as vectors of lanes hold it.
    pub(crate) fn lanes(&self) -> &LaneTable {
        &self.lanes
    }

    /// Code length of each symbol, in units of 2^-8 bit.
    pub(crate) fn costs(&self) -> &[u32] {
        &self.costs
    }
}

/// The three families of models.
#[derive(Debug)]
pub(crate) struct ModelSet {
    /// Over 16 symbols by circular distance, narrow to wide.
    pub(crate) symbols_16: Vec<Model>,
    /// Over 32 symbols by circular distance, narrow to wide.
    pub(crate) symbols_32: Vec<Model>,
    /// Over exponents below a top, and an escape.
    pub(crate) exponents: Vec<Model>,
    /// Code lengths of `symbols_16`.
    pub(crate) costs_16: CostTable,
    /// Code lengths of `symbols_32`.
    pub(crate) costs_32: CostTable,
    /// Code lengths of `exponents`.
    pub(crate) exponent_costs: CostTable,
}

fn cost_table(models: &[Model]) -> CostTable {
    let cost = |model: &Model, symbol: usize| model.costs.get(symbol).copied().unwrap_or_default();
    let of_symbol = |symbol| std::array::from_fn(|model| models.get(model).map_or(0, |model| cost(model, symbol)));
    std::array::from_fn(of_symbol)
}

/// Model set 1, prepared on first use.
pub(crate) fn model_set() -> &'static ModelSet {
    static SET: LazyLock<ModelSet> = LazyLock::new(|| {
        let symbols_16: Vec<Model> = tables::SYMBOLS_16.iter().map(|row| Model::circular(row)).collect();
        let symbols_32: Vec<Model> = tables::SYMBOLS_32.iter().map(|row| Model::circular(row)).collect();
        let exponents: Vec<Model> = tables::EXPONENTS.iter().map(|row| Model::new(row)).collect();
        let [costs_16, costs_32, exponent_costs] = [&symbols_16, &symbols_32, &exponents].map(|set| cost_table(set));
        ModelSet { symbols_16, symbols_32, exponents, costs_16, costs_32, exponent_costs }
    });
    &SET
}

/// Code length of a symbol with `freq` of the 2^12 slots, in units of 2^-8 bit, by integers alone: encoders on every
/// machine choose the same models.
fn cost(freq: u32) -> u32 {
    let whole = freq.ilog2();
    let mut mantissa = u64::from(freq) << (31 - whole);
    let mut log = whole;
    for _ in 0..COST_BITS {
        mantissa = (mantissa * mantissa) >> 31;
        let carry = (mantissa >> 32) as u32;
        mantissa >>= carry;
        log = 2 * log + carry;
    }
    (PROBABILITY_BITS << COST_BITS) - log
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> impl Iterator<Item = &'static Model> {
        let set = model_set();
        set.symbols_16.iter().chain(&set.symbols_32).chain(&set.exponents)
    }

    #[test]
    fn every_model_fills_its_slots_and_spares_no_symbol() {
        for model in all() {
            assert_eq!(model.slices.iter().map(|slice| slice.freq).sum::<u32>(), SLOTS as u32);
            assert!([16, 32].contains(&model.slices.len()));
            assert!(model.slices.iter().all(|slice| (1..SLOTS as u32).contains(&slice.freq)));
        }
    }

    #[test]
    fn slots_name_the_symbol_they_lie_in() {
        for model in all() {
            for state in 0..SLOTS as u32 {
                let slot = model.slot(state);
                let slice = model.slice(slot.symbol());
                assert_eq!((slot.freq(), slot.place()), (slice.freq, state - slice.start));
            }
        }
    }

    #[test]
    fn cost_is_the_binary_logarithm() {
        for freq in 1..SLOTS as u32 {
            let exact = 256.0 * (12.0 - f64::from(freq).log2());
            assert!((f64::from(cost(freq)) - exact).abs() < 1.01, "{freq}: {} {exact}", cost(freq));
        }
    }

    #[test]
    fn the_set_is_the_one_that_segments_were_written_with() {
        let tables: Vec<u8> = all()
            .flat_map(|model| model.slices.iter().map(|slice| slice.freq as u16))
            .flat_map(u16::to_le_bytes)
            .collect();
        assert_eq!(xxhash_rust::xxh3::xxh3_64(&tables), 16_394_369_011_629_689_785);
    }
}
