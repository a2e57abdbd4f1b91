//! What the processor and the memory can do at best: the bounds that results are held against.

use std::hint::black_box;
use std::time::Instant;

use rayon::prelude::*;

use crate::Precision;
use crate::simd::Kernels;

/// Turns of each measurement; the best counts.
const TURNS: usize = 5;
/// Rounds of multiply-adds in a turn: some hundredths of a second.
const PEAK_ROUNDS: u64 = 1 << 23;
/// Bytes that are read or copied in a turn: more than caches hold.
const MEMORY_BYTES: usize = 512 << 20;
/// Words of one task of reading or copying.
const TASK_WORDS: usize = 1 << 17;

/// Rates over all threads of the current rayon pool.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Machine {
    /// Multiplications and additions per second, by the instructions of a precision's kernels, operands in registers.
    pub peak_flops_per_sec: f64,
    /// Bytes read per second.
    pub read_bytes_per_sec: f64,
    /// Bytes copied per second: each is read and written.
    pub copy_bytes_per_sec: f64,
}

impl Machine {
    /// Measures, for a second or two, with 1 GiB of memory.
    pub fn measure(precision: Precision) -> Self {
        let kernels = Kernels::best(precision);
        let source = vec![1_u64; MEMORY_BYTES / size_of::<u64>()];
        let mut target = vec![0_u64; source.len()];
        let peak = || rayon::broadcast(|_| kernels.peak(PEAK_ROUNDS)).into_iter().sum::<u64>() as f64;
        let read = || {
            black_box(source.par_chunks(TASK_WORDS).map(|words| words.iter().fold(0, |a, b| a ^ b)).max());
            MEMORY_BYTES as f64
        };
        let copy = || {
            target.par_chunks_mut(TASK_WORDS).zip(source.par_chunks(TASK_WORDS)).for_each(|(to, from)| {
                to.copy_from_slice(from);
            });
            MEMORY_BYTES as f64
        };
        Self {
            peak_flops_per_sec: best_rate(peak),
            read_bytes_per_sec: best_rate(read),
            copy_bytes_per_sec: best_rate(copy),
        }
    }
}

/// Most units per second that `work` does, which gives the units it did.
fn best_rate(mut work: impl FnMut() -> f64) -> f64 {
    let turn = |_| {
        let started = Instant::now();
        let units = work();
        units / started.elapsed().as_secs_f64().max(1e-9)
    };
    (0..TURNS).map(turn).fold(0.0, f64::max)
}
