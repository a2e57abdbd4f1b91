//! When a transfer that broke is tried again: `STREAM.md`, "Resume".

use std::time::{Duration, Instant};

use crate::{Error, ErrorKind, Result};

/// The tries of one transfer.
#[derive(Debug)]
pub(crate) struct Retries {
    within: Duration,
    /// The next try goes to where the depot was found before.
    may_be_outdated: bool,
    broken_since: Option<Instant>,
    pause: Duration,
    count: u32,
}

impl Retries {
    const FIRST_PAUSE: Duration = Duration::from_millis(50);
    const LONGEST_PAUSE: Duration = Duration::from_secs(2);

    /// Tries for as long as a transfer has not been broken longer than `within`; and once more at once, whatever that is, where
    /// the first try brought nothing and went to a daemon that was found before: it may have been restarted since.
    pub(crate) fn new(within: Duration, was_found_before: bool) -> Self {
        Self { within, may_be_outdated: was_found_before, broken_since: None, pause: Self::FIRST_PAUSE, count: 0 }
    }

    /// Takes note that the transfer came further since it was tried last.
    pub(crate) fn progressed(&mut self) {
        self.may_be_outdated = false;
        self.broken_since = None;
        self.pause = Self::FIRST_PAUSE;
    }

    /// How long to wait until the next try of a transfer that ended in `error` at `now`.
    ///
    /// # Errors
    /// `error`, where no other try is due: another kind than `Unavailable`, or enough was tried.
    pub(crate) fn pause_after(&mut self, error: Error, now: Instant) -> Result<Duration> {
        if error.kind() != ErrorKind::Unavailable {
            return Err(error);
        }
        if std::mem::take(&mut self.may_be_outdated) {
            tracing::debug!(%error, "the depot is looked for anew");
            return Ok(Duration::ZERO);
        }
        let broken = now.saturating_duration_since(*self.broken_since.get_or_insert(now));
        if broken + self.pause > self.within {
            return Err(match self.count {
                0 => error,
                count => error.context(format!("tried {count} times more in {} s", broken.as_secs())),
            });
        }
        self.count += 1;
        let pause = self.pause;
        tracing::info!(%error, ?pause, "the transfer broke and is tried again");
        self.pause = (2 * pause).min(Self::LONGEST_PAUSE);
        Ok(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken() -> Error {
        Error::new(ErrorKind::Unavailable, "broken")
    }

    /// Pauses of a transfer that breaks as soon as it is tried, and the error that it ends with.
    fn pauses(retries: &mut Retries, mut now: Instant) -> (Vec<u128>, Error) {
        let mut pauses = Vec::new();
        loop {
            match retries.pause_after(broken(), now) {
                Ok(pause) => {
                    now += pause;
                    pauses.push(pause.as_millis());
                }
                Err(error) => return (pauses, error),
            }
        }
    }

    #[test]
    fn pauses_double_and_end_with_the_time() {
        let mut retries = Retries::new(Duration::from_secs(10), false);
        let now = Instant::now();
        let (first, error) = pauses(&mut retries, now);
        assert_eq!(first, [50, 100, 200, 400, 800, 1600, 2000, 2000, 2000]);
        assert_eq!(error.to_string(), "tried 9 times more in 9 s: broken");
        retries.progressed();
        assert_eq!(pauses(&mut retries, now + Duration::from_secs(60)).0, first, "the time begins anew");
    }

    #[test]
    fn a_depot_that_was_found_before_is_looked_for_anew_at_once_and_once() {
        let mut retries = Retries::new(Duration::ZERO, true);
        assert_eq!(pauses(&mut retries, Instant::now()), (vec![0], broken()));
        let mut retries = Retries::new(Duration::ZERO, true);
        retries.progressed();
        assert_eq!(pauses(&mut retries, Instant::now()), (vec![], broken()), "it was there");
    }

    #[test]
    fn nothing_is_tried_again_where_that_is_not_wanted_or_of_no_use() {
        let error = Retries::new(Duration::ZERO, false).pause_after(broken(), Instant::now());
        assert_eq!(error, Err(broken()));
        let corrupt = Error::new(ErrorKind::Corrupt, "a segment");
        let error = Retries::new(Duration::MAX, true).pause_after(corrupt.clone(), Instant::now());
        assert_eq!(error, Err(corrupt));
    }
}
