//! The bitwise arithmetic coder: 16-bit frequencies, 32-bit bounds, pending bits.
//!
//! Source: Witten, Neal and Cleary, "Arithmetic Coding for Data Compression" (1987), in the arrangement of `torchac`.

use super::cdf::Cdf;

const HALF: u32 = 1 << 31;
const QUARTER: u32 = 1 << 30;
/// Bits of the frequencies.
const PRECISION: u32 = 16;

/// The bounds of what the next bits may say.
struct Interval {
    low: u32,
    high: u32,
}

/// What the bounds have in common, taken out.
enum Step {
    Bit(bool),
    /// They straddle the middle: the next bit says which way, and then comes one of the opposite.
    Pending,
}

impl Interval {
    const fn whole() -> Self {
        Self { low: 0, high: u32::MAX }
    }

    fn span(&self) -> u64 {
        u64::from(self.high) - u64::from(self.low) + 1
    }

    fn narrow(&mut self, (start, end): (u32, u32)) {
        let at = |point: u32| u64::from(self.low) + ((self.span() * u64::from(point)) >> PRECISION);
        (self.low, self.high) = (at(start) as u32, (at(end) - 1) as u32);
    }

    /// Doubles the interval where its bounds allow it.
    fn step(&mut self) -> Option<Step> {
        let (step, offset) = if self.high < HALF {
            (Step::Bit(false), 0)
        } else if self.low >= HALF {
            (Step::Bit(true), HALF)
        } else if self.low >= QUARTER && self.high < HALF + QUARTER {
            (Step::Pending, QUARTER)
        } else {
            return None;
        };
        self.low = (self.low - offset) << 1;
        self.high = (self.high - offset) << 1 | 1;
        Some(step)
    }
}

/// Bits from the top of each byte on.
struct BitWriter<'a> {
    bytes: &'a mut Vec<u8>,
    partial: u8,
    num_bits: u32,
}

impl BitWriter<'_> {
    fn push(&mut self, bit: bool) {
        self.partial = self.partial << 1 | u8::from(bit);
        self.num_bits += 1;
        if self.num_bits == 8 {
            self.bytes.push(self.partial);
            (self.partial, self.num_bits) = (0, 0);
        }
    }

    /// A bit, and `pending` of the opposite.
    fn push_with(&mut self, bit: bool, pending: &mut u32) {
        self.push(bit);
        for _ in 0..std::mem::take(pending) {
            self.push(!bit);
        }
    }

    fn finish(self) {
        if self.num_bits > 0 {
            self.bytes.push(self.partial << (8 - self.num_bits));
        }
    }
}

/// Adds the stream of a channel's symbols.
pub(super) fn encode(symbols: &[u8], cdf: &Cdf, bytes: &mut Vec<u8>) {
    let mut writer = BitWriter { bytes, partial: 0, num_bits: 0 };
    let (mut interval, mut pending) = (Interval::whole(), 0);
    for &symbol in symbols {
        interval.narrow(cdf.range(symbol));
        while let Some(step) = interval.step() {
            match step {
                Step::Bit(bit) => writer.push_with(bit, &mut pending),
                Step::Pending => pending += 1,
            }
        }
    }
    pending += 1;
    writer.push_with(interval.low >= QUARTER, &mut pending);
    writer.finish();
}

/// Decodes as many symbols as there is room for; zero bits follow the stream.
pub(super) fn decode(stream: &[u8], cdf: &Cdf, symbols: &mut [u8]) {
    let mut bits = stream.iter().flat_map(|byte| (0..8).rev().map(move |bit| u32::from(byte >> bit & 1)));
    let mut next = || bits.next().unwrap_or(0);
    let mut code = (0..32).fold(0, |code, _| code << 1 | next());
    let mut interval = Interval::whole();
    for symbol in symbols {
        let scaled = (u64::from(code) - u64::from(interval.low) + 1) << PRECISION;
        *symbol = cdf.symbol_at(((scaled - 1) / interval.span()) as u32);
        interval.narrow(cdf.range(*symbol));
        while let Some(step) = interval.step() {
            let offset = match step {
                Step::Bit(false) => 0,
                Step::Bit(true) => HALF,
                Step::Pending => QUARTER,
            };
            code = (code - offset) << 1 | next();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn symbols_come_back(symbols in prop::collection::vec(0u8..32, 1..300)) {
            let (cdf, mut stream) = (Cdf::count(&symbols), Vec::new());
            encode(&symbols, &cdf, &mut stream);
            let mut decoded = vec![0; symbols.len()];
            decode(&stream, &cdf, &mut decoded);
            prop_assert_eq!(decoded, symbols);
        }

        #[test]
        fn any_stream_decodes_to_symbols(stream in prop::collection::vec(any::<u8>(), 0..64), counted in prop::collection::vec(0u8..32, 1..50)) {
            let mut decoded = vec![0; 300];
            decode(&stream, &Cdf::count(&counted), &mut decoded);
            prop_assert!(decoded.iter().all(|symbol| *symbol < 32));
        }
    }

    #[test]
    fn the_stream_is_within_a_few_bits_of_the_entropy() {
        let symbols: Vec<u8> = (0..256).map(|i: u32| (i.count_ones() * 3) as u8).collect();
        let (cdf, mut stream) = (Cdf::count(&symbols), Vec::new());
        encode(&symbols, &cdf, &mut stream);
        let bits = |symbol: u8| {
            let (start, end) = cdf.range(symbol);
            16.0 - f64::from(end - start).log2()
        };
        let ideal: f64 = symbols.iter().map(|symbol| bits(*symbol)).sum();
        let coded = 8.0 * stream.len() as f64;
        assert!(coded >= ideal && coded < ideal + 12.0, "{coded} bits for {ideal}");
    }
}
