//! What a link gives over time, as a file says.
//!
//! Lines are words; `#` begins a comment. `rtt_ms N` and `loss_percent N` describe the path and are made by whoever lays it.
//! `MS MBIT` is a rate in Mbit/s from a time on; `uniform SLOT_MS LOW HIGH SEED` draws one for each slot of a minute, and then
//! the last one stays.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use kvdepot_client::files;

/// How long rates are drawn for.
const DRAWN_MS: u64 = 60_000;

/// What a link gives over time.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Trace {
    pub(super) name: String,
    pub(super) rtt_ms: f64,
    pub(super) loss_percent: f64,
    /// From when on, and how many bits per second; the first from the start.
    pub(super) rates: Vec<(Duration, f64)>,
}

impl Trace {
    /// Reads a trace, named as its file.
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        Self::parse(name, &files::read_text(path)?).with_context(|| format!("in {}", path.display()))
    }

    fn parse(name: String, text: &str) -> anyhow::Result<Self> {
        let mut trace = Self { name, rtt_ms: 0.0, loss_percent: 0.0, rates: Vec::new() };
        for line in text.lines() {
            let line = line.split('#').next().unwrap_or_default();
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                [] => {}
                ["rtt_ms", value] => trace.rtt_ms = value.parse()?,
                ["loss_percent", value] => trace.loss_percent = value.parse()?,
                ["uniform", slot, low, high, seed] => {
                    trace.rates = uniform(slot.parse()?, (low.parse()?, high.parse()?), seed.parse()?)?;
                }
                [from, mbit] => trace.rates.push((Duration::from_millis(from.parse()?), 1e6 * mbit.parse::<f64>()?)),
                _ => bail!("not a line of a trace: {line:?}"),
            }
        }
        ensure!(trace.rates.first().is_some_and(|(from, _)| from.is_zero()), "no rate from 0 ms on");
        ensure!(trace.rates.is_sorted_by(|a, b| a.0 < b.0), "rates that do not follow one another");
        ensure!(trace.rates.iter().all(|(_, rate)| *rate > 0.0), "a rate that is none");
        Ok(trace)
    }

    /// When so many bytes have come, if nothing but the link takes time.
    pub(super) fn transfer_secs(&self, bytes: u64) -> f64 {
        let mut left = 8.0 * bytes as f64;
        let ends = self.rates.iter().skip(1).map(|(from, _)| from.as_secs_f64()).chain([f64::INFINITY]);
        let mut now = 0.0;
        for ((_, rate), end) in self.rates.iter().zip(ends) {
            if now + left / rate <= end {
                return now + left / rate + self.rtt_ms / 1e3;
            }
            left -= (end - now) * rate;
            now = end;
        }
        f64::INFINITY
    }
}

fn uniform(slot_ms: u64, (low, high): (f64, f64), seed: u64) -> anyhow::Result<Vec<(Duration, f64)>> {
    ensure!(slot_ms > 0 && low > 0.0 && high >= low, "cannot draw {low} to {high} Mbit/s every {slot_ms} ms");
    let mut state = seed;
    let mut draw = || {
        // Knuth's MMIX generator: the same rates on every machine.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as f64 / (1u64 << 31) as f64
    };
    let slots = (0..DRAWN_MS).step_by(usize::try_from(slot_ms)?);
    Ok(slots.map(|from| (Duration::from_millis(from), 1e6 * (low + (high - low) * draw()))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(text: &str) -> anyhow::Result<Trace> {
        Trace::parse("test".to_owned(), text)
    }

    #[test]
    fn a_transfer_takes_what_the_rates_over_time_say() {
        let collapse = trace("rtt_ms 20 # far\n0 8\n1000 0.8\n").unwrap();
        assert_eq!(collapse.transfer_secs(500_000), 0.52);
        assert!((collapse.transfer_secs(1_100_000) - 2.02).abs() < 1e-9);
    }

    #[test]
    fn equal_seeds_draw_equal_rates_within_their_bounds() {
        let drawn = trace("uniform 100 60 5940 3").unwrap();
        assert_eq!(drawn.rates.len(), 600);
        assert!(drawn.rates.iter().all(|(_, rate)| (6e7..=5.94e9).contains(rate)));
        assert_eq!(drawn, trace("uniform 100 60 5940 3").unwrap());
        assert_ne!(drawn.rates, trace("uniform 100 60 5940 4").unwrap().rates);
    }

    #[test]
    fn what_is_no_trace_is_refused() {
        for wrong in ["", "5 100", "0 100\n0 200", "0 0", "0 -3", "speed 3 4 5", "uniform 0 1 2 3"] {
            assert!(trace(wrong).is_err(), "{wrong:?}");
        }
    }
}
