//! Makes a link follow a trace, by `tc` in the network namespace of its sending end.

use std::io::Write;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::str::FromStr;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use super::trace::Trace;

/// Longest that a packet waits for the link before it is dropped.
const QUEUE: &str = "50ms";
/// A bucket holds what the link gives in this time, and at least one batch of datagrams.
const BURST: Duration = Duration::from_millis(1);
const MIN_BURST_BYTES: f64 = 131_072.0;
/// What no trace asks for.
const OPEN_BITS_PER_SEC: f64 = 4e10;

/// The sending end of a link.
#[derive(Debug, Clone)]
pub(super) struct LinkEnd {
    /// A process in its network namespace.
    pid: u32,
    device: String,
}

impl FromStr for LinkEnd {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let end = text.split_once(':').and_then(|(pid, device)| Some((pid.parse().ok()?, device)));
        let (pid, device) = end.ok_or("expected PID:DEVICE")?;
        Ok(Self { pid, device: device.to_owned() })
    }
}

/// A link that follows traces.
pub(super) struct Shaper {
    end: LinkEnd,
    tc: Child,
}

impl Shaper {
    /// Starts `tc` at the end of the link.
    pub(super) fn start(end: LinkEnd) -> anyhow::Result<Self> {
        let mut command = Command::new("nsenter");
        command.args(["--target", &end.pid.to_string(), "--net", "tc", "-batch", "-"]).stdin(Stdio::piped());
        let tc = command.spawn().context("cannot start nsenter (Debian: util-linux) and tc (iproute2)")?;
        Ok(Self { end, tc })
    }

    /// Follows the trace from now on, until [`Self::end`].
    pub(super) fn play(&mut self, trace: &Trace) -> anyhow::Result<Playing> {
        ensure!(self.tc.try_wait()?.is_none(), "tc ended: this kernel has no tbf, or refuses it here");
        let mut tc = self.tc.stdin.take().context("tc plays a trace already")?;
        let device = self.end.device.clone();
        set_rate(&mut tc, &device, trace.rates[0].1)?;
        let (stop, stopped) = channel();
        let (started, rates) = (Instant::now(), trace.rates.clone());
        let thread = std::thread::spawn(move || {
            for (from, rate) in rates.into_iter().skip(1) {
                let left = from.saturating_sub(started.elapsed());
                let waited = stopped.recv_timeout(left);
                if waited != Err(RecvTimeoutError::Timeout) || set_rate(&mut tc, &device, rate).is_err() {
                    break;
                }
            }
            tc
        });
        Ok(Playing { stop, thread })
    }

    /// Ends a trace: what is left of its fetch leaves the link quickly.
    pub(super) fn end(&mut self, playing: Playing) -> anyhow::Result<()> {
        let Playing { stop, thread } = playing;
        drop(stop);
        let mut tc = thread.join().map_err(|_| anyhow::anyhow!("the thread of a trace panicked"))?;
        set_rate(&mut tc, &self.end.device, OPEN_BITS_PER_SEC)?;
        self.tc.stdin = Some(tc);
        Ok(())
    }
}

impl Drop for Shaper {
    fn drop(&mut self) {
        // It ends by itself when its input does.
        drop(self.tc.stdin.take());
        let _ = self.tc.wait();
    }
}

/// A trace that the link follows.
pub(super) struct Playing {
    stop: Sender<()>,
    thread: JoinHandle<ChildStdin>,
}

fn set_rate(tc: &mut ChildStdin, device: &str, bits_per_sec: f64) -> anyhow::Result<()> {
    let burst = (bits_per_sec / 8.0 * BURST.as_secs_f64()).max(MIN_BURST_BYTES);
    writeln!(tc, "qdisc replace dev {device} root tbf rate {bits_per_sec:.0}bit burst {burst:.0} latency {QUEUE}")?;
    Ok(tc.flush()?)
}
