//! Bandwidth, estimated from what arrives.

use std::collections::VecDeque;
use std::time::Duration;

/// How far back arrivals count: long against the gaps between them, short against a deadline.
const WINDOW: Duration = Duration::from_millis(250);

/// What arrived lately. Time is that since the request.
#[derive(Debug, Clone, Default)]
pub struct Arrivals {
    recent: VecDeque<(Duration, u64)>,
    recent_bytes: u64,
    first: Option<Duration>,
}

impl Arrivals {
    /// Counts bytes as arrived at `now`, which does not go back.
    pub fn record(&mut self, now: Duration, bytes: u64) {
        self.first.get_or_insert(now);
        self.recent.push_back((now, bytes));
        self.recent_bytes = self.recent_bytes.saturating_add(bytes);
        self.forget(now);
    }

    /// Bytes per second over the window up to `now`: silence counts, so that a link that stands still is seen to. Nothing
    /// before the second arrival.
    pub fn bytes_per_sec(&mut self, now: Duration) -> Option<f64> {
        self.forget(now);
        let since = now.saturating_sub(self.first?).min(WINDOW);
        (since > Duration::ZERO).then(|| self.recent_bytes as f64 / since.as_secs_f64())
    }

    fn forget(&mut self, now: Duration) {
        while let Some(&(at, bytes)) = self.recent.front()
            && now.saturating_sub(at) >= WINDOW
        {
            self.recent.pop_front();
            self.recent_bytes = self.recent_bytes.saturating_sub(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_steady_stream_has_its_rate_and_silence_lowers_it() {
        let mut arrivals = Arrivals::default();
        assert_eq!(arrivals.bytes_per_sec(millis(5)), None);
        (0..100).for_each(|step| arrivals.record(millis(10 * step), 1_000));
        let steady = arrivals.bytes_per_sec(millis(1_000)).unwrap_or_default();
        assert!((steady - 1e5).abs() < 1e4, "{steady}");
        let halved = arrivals.bytes_per_sec(millis(1_120)).unwrap_or_default();
        assert!(halved < 0.6 * steady, "{halved} after {steady}");
        assert_eq!(arrivals.bytes_per_sec(millis(5_000)), Some(0.0));
    }
}
