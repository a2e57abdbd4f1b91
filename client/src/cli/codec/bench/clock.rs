//! Time that the thread spent, beside the time that went by.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// How long something took.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Spent {
    /// On the processor, for this thread. On an idle machine that is the time that went by; on a busy one it is not
    /// stretched by what others do meanwhile.
    pub(super) thread: Duration,
    /// By the wall clock.
    pub(super) wall: Duration,
}

impl Spent {
    /// Runs `operation`, and gives its result and what it took.
    pub(super) fn on<T>(operation: impl FnOnce() -> T) -> (T, Self) {
        let (thread, wall) = (thread_time(), Instant::now());
        let result = operation();
        (result, Self { thread: thread_time().saturating_sub(thread), wall: wall.elapsed() })
    }
}

fn thread_time() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap_or_default()
}

/// The middle one by thread time; of an even number, the later of the two.
pub(super) fn median(spent: &[Spent]) -> Duration {
    let mut threads: Vec<Duration> = spent.iter().map(|spent| spent.thread).collect();
    threads.sort_unstable();
    threads.get(threads.len() / 2).copied().unwrap_or_default()
}

/// Share of the wall clock that the thread was on a processor.
pub(super) fn core_share<'a>(spent: impl IntoIterator<Item = &'a Spent>) -> f64 {
    let (mut thread, mut wall) = (Duration::ZERO, Duration::ZERO);
    for spent in spent {
        thread += spent.thread;
        wall += spent.wall;
    }
    if wall.is_zero() { 1.0 } else { thread.as_secs_f64() / wall.as_secs_f64() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_is_no_thread_time() {
        let (receiver, sent) = std::sync::mpsc::channel::<()>();
        let waiting = || sent.recv_timeout(Duration::from_millis(50)).is_err();
        let (timed_out, spent) = Spent::on(waiting);
        drop(receiver);
        assert!(timed_out && spent.wall >= Duration::from_millis(50) && spent.thread < spent.wall, "{spent:?}");
        assert!(core_share([&spent]) < 0.9);
    }

    #[test]
    fn the_median_is_the_middle_one() {
        let spent = [3, 1, 2].map(|secs| Spent { thread: Duration::from_secs(secs), wall: Duration::ZERO });
        assert_eq!(median(&spent), Duration::from_secs(2));
    }
}
