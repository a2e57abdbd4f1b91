//! The static probability models of the entropy coder: baked integers, part of the format version.
//!
//! A model is a distribution over 16 symbols in units of 2^-8, symbol 15 being an escape. Two families make up
//! [`ModelSet`]; which one a channel uses, and what its symbols mean, is its level's business.

mod tables;

use std::sync::LazyLock;

pub(crate) use tables::VALUE_CLASSES;

/// Id of the model set of this build, as segment headers carry it.
pub(crate) const MODEL_SET: u8 = 2;
/// Symbols of every model.
pub(crate) const ALPHABET: usize = 16;
/// The symbol that stands for everything a model has no other symbol for.
pub(crate) const ESCAPE: u8 = 15;
/// Probabilities are multiples of 2^-8.
pub(crate) const PROBABILITY_BITS: u32 = 8;
const SLOTS: usize = 1 << PROBABILITY_BITS;

/// Code lengths are counted in units of 2^-8 bit.
pub(crate) const COST_BITS: u32 = 8;

/// A distribution over the symbols, prepared for coding in both directions.
#[derive(Debug)]
pub(crate) struct Model {
    lanes: LaneTable,
    ranks: RankTable,
    symbols: [u8; SLOTS],
    len: u8,
}

/// A model as vectors of lanes hold it: one byte per symbol, to be picked by byte shuffles.
#[derive(Debug, Default)]
#[repr(C, align(16))]
pub(crate) struct LaneTable {
    /// First slot of each symbol. A symbol without slots has that of the next one.
    pub(crate) starts: [u8; ALPHABET],
    /// Slots of each symbol, 0 to 255.
    pub(crate) freqs: [u8; ALPHABET],
    /// The four bytes of `(2^32 - 1) / freq`, lowest first.
    pub(crate) reciprocals: [[u8; ALPHABET]; 4],
    /// The first slots with the top bit inverted.
    pub(crate) biased_starts: [u8; ALPHABET],
    /// The last slots before symbols, as a tree for search: the children of node `i` are `2 i` and `2 i + 1`, the root is
    /// node 1. The top bit is inverted, so that signed comparison gives the order.
    pub(crate) search_keys: [u8; ALPHABET],
}

impl LaneTable {
    fn new(freqs: &[u8; ALPHABET]) -> Self {
        let mut lanes = Self { starts: [0; ALPHABET], freqs: *freqs, ..Self::default() };
        let mut start = 0u8;
        for (symbol, &freq) in freqs.iter().enumerate() {
            lanes.starts[symbol] = start;
            lanes.biased_starts[symbol] = start ^ 0x80;
            start = start.wrapping_add(freq);
            let reciprocal = (u32::MAX / u32::from(freq.max(1))).to_le_bytes();
            lanes.reciprocals.iter_mut().zip(reciprocal).for_each(|(to, byte)| to[symbol] = byte);
        }
        for node in 1..ALPHABET {
            // A node of depth `d` is in the middle of the `node - 2^d`-th of `2^d` equal parts of the symbols.
            let depth = node.ilog2();
            let symbol = (2 * (node - (1 << depth)) + 1) << (ALPHABET.ilog2() - 1 - depth);
            lanes.search_keys[node] = lanes.starts[symbol].wrapping_sub(1) ^ 0x80;
        }
        lanes
    }
}

/// Slots of a group of a [`RankTable`].
const GROUP_SLOTS: usize = 4;

/// A model by rank, for vectors that permute 64 bytes: the rank of a symbol is how many symbols with slots are before it.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct RankTable {
    /// Of each group of four slots: the rank that the first slot has, times 16; bits 0 to 2, whether a symbol starts at the
    /// second to fourth one.
    pub(crate) groups: [u8; SLOTS / GROUP_SLOTS],
    /// First slot by rank.
    pub(crate) starts: [u8; ALPHABET],
    /// Slots by rank.
    pub(crate) freqs: [u8; ALPHABET],
    /// Symbols by rank.
    pub(crate) symbols: [u8; ALPHABET],
}

impl RankTable {
    fn new(lanes: &LaneTable) -> Self {
        let mut table = Self {
            groups: [0; SLOTS / GROUP_SLOTS],
            starts: [0; ALPHABET],
            freqs: [0; ALPHABET],
            symbols: [0; ALPHABET],
        };
        let with_slots = (0u8..).zip(lanes.starts.iter().zip(&lanes.freqs)).filter(|&(_, (_, &freq))| freq > 0);
        for (rank, (symbol, (&start, &freq))) in (0u8..).zip(with_slots) {
            let at = usize::from(rank);
            (table.starts[at], table.freqs[at], table.symbols[at]) = (start, freq, symbol);
            let (group, slot) = (usize::from(start) / GROUP_SLOTS, usize::from(start) % GROUP_SLOTS);
            table.groups[group + usize::from(slot > 0)..].fill(rank << 4);
            if slot > 0 {
                table.groups[group] |= 1 << (slot - 1);
            }
        }
        table
    }
}

impl Model {
    fn new(freqs: &[u8; ALPHABET]) -> Self {
        let lanes = LaneTable::new(freqs);
        let mut symbols = [0; SLOTS];
        for (symbol, (&start, &freq)) in lanes.starts.iter().zip(freqs).enumerate() {
            let start = usize::from(start);
            symbols[start..start + usize::from(freq)].fill(symbol as u8);
        }
        let len = freqs.iter().take_while(|&&freq| freq > 0).count().min(usize::from(ESCAPE)) as u8;
        Self { ranks: RankTable::new(&lanes), lanes, symbols, len }
    }

    /// Number of symbols that have slots, from 0 on, besides [`ESCAPE`].
    pub(crate) fn len(&self) -> u8 {
        self.len
    }

    /// First slot and number of slots of a symbol, which is below [`ALPHABET`].
    pub(crate) fn slice(&self, symbol: u8) -> (u32, u32) {
        let symbol = usize::from(symbol);
        (u32::from(self.lanes.starts[symbol]), u32::from(self.lanes.freqs[symbol]))
    }

    /// The symbol whose slots the low bits of a coder's state are among.
    pub(crate) fn symbol(&self, state: u32) -> u8 {
        self.symbols[state as usize % SLOTS]
    }

    /// The model as vectors of lanes hold it.
    pub(crate) fn lanes(&self) -> &LaneTable {
        &self.lanes
    }

    /// The model by rank.
    pub(crate) fn ranks(&self) -> &RankTable {
        &self.ranks
    }

    /// Code length of each symbol in units of 2^-8 bit, where one that has no slots is escaped at `escape_bits` more.
    pub(crate) fn costs(&self, escape_bits: u32) -> [u32; ALPHABET] {
        let escape = cost(self.lanes.freqs[usize::from(ESCAPE)]);
        std::array::from_fn(|symbol| match self.lanes.freqs[symbol] {
            freq if freq > 0 && symbol < usize::from(ESCAPE) => cost(freq),
            _ => escape + (escape_bits << COST_BITS),
        })
    }
}

/// The two families of models.
#[derive(Debug)]
pub(crate) struct ModelSet {
    /// Values about zero, narrow to wide; see [`VALUE_CLASSES`].
    pub(crate) values: Vec<Model>,
    /// Exponents below a top.
    pub(crate) exponents: Vec<Model>,
}

/// Model set 2, prepared on first use.
pub(crate) fn model_set() -> &'static ModelSet {
    static SET: LazyLock<ModelSet> = LazyLock::new(|| ModelSet {
        values: tables::VALUES.iter().map(Model::new).collect(),
        exponents: tables::EXPONENTS.iter().map(Model::new).collect(),
    });
    &SET
}

/// Code length of a symbol with `freq` of the 2^8 slots, in units of 2^-8 bit, by integers alone: encoders on every
/// machine choose the same models. `freq` is at least 1.
fn cost(freq: u8) -> u32 {
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
        model_set().values.iter().chain(&model_set().exponents)
    }

    #[test]
    fn every_model_fills_its_slots_and_has_an_escape() {
        for model in all() {
            assert_eq!(model.lanes.freqs.iter().map(|&freq| usize::from(freq)).sum::<usize>(), SLOTS);
            assert!(model.lanes.freqs[usize::from(ESCAPE)] > 0);
            let used = model.lanes.freqs[..usize::from(ESCAPE)].iter().filter(|&&freq| freq > 0).count();
            assert_eq!(usize::from(model.len), used);
        }
    }

    #[test]
    fn slots_name_the_symbol_they_lie_in() {
        for model in all() {
            for state in 0..SLOTS as u32 {
                let (start, freq) = model.slice(model.symbol(state));
                assert!((start..start + freq).contains(&state));
            }
        }
    }

    #[test]
    fn ranks_name_the_symbol_of_each_slot() {
        for model in all() {
            for slot in 0..SLOTS {
                let group = model.ranks.groups[slot / GROUP_SLOTS];
                let starts = group & ((1 << (slot % GROUP_SLOTS)) - 1);
                let rank = usize::from(group >> 4) + starts.count_ones() as usize;
                let symbol = model.ranks.symbols[rank];
                assert_eq!(symbol, model.symbol(slot as u32));
                let (start, freq) = (model.ranks.starts[rank], model.ranks.freqs[rank]);
                assert_eq!((u32::from(start), u32::from(freq)), model.slice(symbol));
            }
        }
    }

    #[test]
    fn cost_is_the_binary_logarithm() {
        for freq in 1..=u8::MAX {
            let exact = 256.0 * (8.0 - f64::from(freq).log2());
            assert!((f64::from(cost(freq)) - exact).abs() < 1.01, "{freq}: {} {exact}", cost(freq));
        }
    }

    #[test]
    fn the_set_is_the_one_that_segments_were_written_with() {
        let tables: Vec<u8> = all().flat_map(|model| model.lanes.freqs).collect();
        assert_eq!(xxhash_rust::xxh3::xxh3_64(&tables), 3_385_398_447_008_698_409);
    }
}
