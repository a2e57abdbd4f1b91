//! Multiply-adds on registers alone: what the kernels would reach if operands cost nothing.

use std::hint::black_box;

use super::dispatch::Job;
use super::lanes::{Lanes, Vector};
use super::line::Line;

/// Most words of a left row that meet one line.
const WORDS: usize = 2;

/// Runs multiply-adds of one line `rounds` times in as many chains as fill the units, and counts the operations.
pub(super) struct Peak<'a> {
    pub(super) rounds: u64,
    pub(super) operations: &'a mut u64,
}

impl Job for Peak<'_> {
    #[inline(always)]
    fn run<L: Lanes>(self) {
        *self.operations = if L::WIDE { chains::<L, 16>(self.rounds) } else { chains::<L, 6>(self.rounds) };
    }
}

/// `M` sums of sixteen lanes each; gives the multiplications and additions that were done.
#[inline(always)]
fn chains<L: Lanes, const M: usize>(rounds: u64) -> u64 {
    let (row, panel) = (black_box([0; WORDS]), black_box([Line::ZERO]));
    let x = [L::left(&row); M];
    let mut acc = [[L::Acc::splat(0.0)]; M];
    for _ in 0..rounds {
        L::madd(&mut acc, &x, &[&panel], 0);
    }
    for [sums] in acc {
        black_box(sums.to_array());
    }
    rounds * L::OPERATIONS * M as u64
}
