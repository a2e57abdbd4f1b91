//! Time, and what of it the processes spent.

use std::{hint::black_box, time::Duration, time::Instant};

use anyhow::{Context, Result};

/// Large against every cache.
const COPIED_BYTES: usize = 256 << 20;

/// Rate of copying memory on one core, for comparison.
pub(crate) fn memcpy_gb_per_sec(time: Duration) -> f64 {
    let source = vec![1u8; COPIED_BYTES];
    let mut copy = vec![2u8; COPIED_BYTES];
    let (started, mut copied) = (Instant::now(), 0);
    while started.elapsed() < time || copied == 0 {
        black_box(copy.as_mut_slice()).copy_from_slice(black_box(&source));
        copied += COPIED_BYTES;
    }
    copied as f64 / started.elapsed().as_secs_f64() / 1e9
}

/// Seconds of processor time that a process has taken so far, in user and kernel mode.
pub(crate) fn cpu_secs(pid: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, after_name) = stat.rsplit_once(')').context("no name in the process's state")?;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks = |idx: usize| -> Result<u64> { Ok(fields.get(idx).context("too few fields")?.parse()?) };
    Ok((ticks(11)? + ticks(12)?) as f64 / rustix::param::clock_ticks_per_second() as f64)
}
