//! Random values for models and KV whose content does not matter.

/// Words of splitmix64.
pub(super) fn words(seed: u64) -> impl Iterator<Item = u64> {
    let mut state = seed;
    std::iter::repeat_with(move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    })
}

/// Bits of bf16 of either sign between 2^-11 and 2^-7: about the size of trained weights.
pub(super) fn bf16(seed: u64) -> impl Iterator<Item = u16> {
    /// Sign, two bits of the exponent, mantissa.
    const DRAWN: u16 = 0x81ff;
    /// Exponent of 2^-11, 116, whose two lowest bits are zero.
    const SMALLEST: u16 = (127 - 11) << 7;
    words(seed).flat_map(|word| [word, word >> 16, word >> 32, word >> 48].map(|bits| bits as u16 & DRAWN | SMALLEST))
}

/// Tokens of a vocabulary.
pub(super) fn tokens(seed: u64, count: usize, vocab_size: usize) -> Vec<u32> {
    words(seed).take(count).map(|word| (word % vocab_size as u64) as u32).collect()
}
