//! The choice of instruction set, made once.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{__m256, __m512};

use super::fold::{Fold, FoldStates, FoldView, Scratch};
use super::gate::Gate;
use super::lanes::{Bf16, F32, Lanes};
use super::line::{LANES, Line};
use super::matmul::MatMul;
use super::operand::{Form, Operand};
use super::peak::Peak;
#[cfg(target_arch = "x86_64")]
use super::x86::Dp;
use crate::Precision;

/// A kernel's body, to be compiled for each instruction set. `run` must be `#[inline(always)]`, all the way down.
pub(super) trait Job {
    /// Does the work with the arithmetic of `L`.
    fn run<L: Lanes>(self);
}

/// Instruction sets that kernels are compiled for.
///
/// The x86 values come only from [`Isa::available`], after the processor's own word: holding one is the proof that
/// its instructions may be executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Isa {
    /// What the target guarantees.
    Baseline,
    /// AVX2 and FMA.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// AVX-512 F, BW, DQ and VL.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// AVX-512 with the bf16 dot product.
    #[cfg(target_arch = "x86_64")]
    Avx512Bf16,
}

impl Isa {
    /// What this processor has, from the plainest to the best.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn available() -> Vec<Self> {
        let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        let avx512 = avx2
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl");
        let bf16 = avx512 && is_x86_feature_detected!("avx512bf16");
        [(Self::Baseline, true), (Self::Avx2, avx2), (Self::Avx512, avx512), (Self::Avx512Bf16, bf16)]
            .into_iter()
            .filter_map(|(isa, present)| present.then_some(isa))
            .collect()
    }

    /// What this processor has, from the plainest to the best.
    #[cfg(not(target_arch = "x86_64"))]
    pub(super) fn available() -> Vec<Self> {
        vec![Self::Baseline]
    }
}

/// The kernels at one precision, for one instruction set.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kernels {
    isa: Isa,
    precision: Precision,
}

impl Kernels {
    /// The best that this processor has.
    pub(crate) fn best(precision: Precision) -> Self {
        Self::with_isa(Isa::available().pop().unwrap_or(Isa::Baseline), precision)
    }

    /// Those of one instruction set.
    pub(super) fn with_isa(isa: Isa, precision: Precision) -> Self {
        Self { isa, precision }
    }

    pub(crate) fn precision(&self) -> Precision {
        self.precision
    }

    /// How the left operands of products lie.
    pub(crate) fn form(&self) -> Form {
        match (self.isa, self.precision) {
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx512Bf16, Precision::Bf16) => Dp::FORM,
            (_, Precision::Bf16) => Bf16::<[f32; LANES]>::FORM,
            (_, Precision::F32) => F32::<[f32; LANES]>::FORM,
        }
    }

    /// Sums of each row of `x` with each of the panels' columns, on this thread.
    ///
    /// `panels`: `[panels, lines]`, with as many lines as the elements of a row of `x` have. `out`: `[panels, rows]`.
    pub(crate) fn matmul(&self, x: &Operand, panels: &[Line], out: &mut [[f32; LANES]]) {
        self.run(MatMul { x: x.words(), rows: x.num_rows(), panels, out });
    }

    /// Folds one page into the states of a block of rows.
    pub(crate) fn fold(&self, view: FoldView<'_>, states: FoldStates<'_>, scratch: &mut Scratch) {
        self.run(Fold { view, states, scratch });
    }

    /// `out = silu(gate) * up`, element by element.
    pub(crate) fn gate(&self, gate: &[f32], up: &[f32], out: &mut [f32]) {
        self.run(Gate { gate, up, out });
    }

    /// Runs multiply-adds on registers, `rounds` times, on this thread; gives the operations that were done.
    pub(crate) fn peak(&self, rounds: u64) -> u64 {
        let mut operations = 0;
        self.run(Peak { rounds, operations: &mut operations });
        operations
    }

    fn run<J: Job>(&self, job: J) {
        match self.isa {
            Isa::Baseline => baseline(job, self.precision),
            // SAFETY: the value proves the features, see `Isa`.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => unsafe { avx2(job, self.precision) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => unsafe { avx512(job, self.precision) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Bf16 => unsafe { avx512bf16(job, self.precision) },
        }
    }
}

fn baseline<J: Job>(job: J, precision: Precision) {
    match precision {
        Precision::F32 => job.run::<F32<[f32; LANES]>>(),
        Precision::Bf16 => job.run::<Bf16<[f32; LANES]>>(),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2<J: Job>(job: J, precision: Precision) {
    match precision {
        Precision::F32 => job.run::<F32<[__m256; 2]>>(),
        Precision::Bf16 => job.run::<Bf16<[__m256; 2]>>(),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")]
fn avx512<J: Job>(job: J, precision: Precision) {
    match precision {
        Precision::F32 => job.run::<F32<__m512>>(),
        Precision::Bf16 => job.run::<Bf16<__m512>>(),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
fn avx512bf16<J: Job>(job: J, precision: Precision) {
    match precision {
        Precision::F32 => job.run::<F32<__m512>>(),
        Precision::Bf16 => job.run::<Dp>(),
    }
}
