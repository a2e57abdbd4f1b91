//! The gate of the SwiGLU MLP.

use super::dispatch::Job;
use super::lanes::Lanes;
use super::math::silu;

/// `out = silu(gate) * up`, element by element.
pub(super) struct Gate<'a> {
    pub(super) gate: &'a [f32],
    pub(super) up: &'a [f32],
    pub(super) out: &'a mut [f32],
}

impl Job for Gate<'_> {
    #[inline(always)]
    fn run<L: Lanes>(self) {
        for ((out, &gate), &up) in self.out.iter_mut().zip(self.gate).zip(self.up) {
            *out = silu::<L>(gate) * up;
        }
    }
}
