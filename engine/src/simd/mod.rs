//! Kernels: matrix products over packed panels, the fold of a page into attention, and the gate of the MLP.
//!
//! Each kernel is one plain body over a [`Lanes`] type, compiled once per instruction set and chosen at run time by
//! [`Kernels`]. The order of every sum is fixed by the operands' shapes alone: one output element is accumulated over
//! its words from first to last, whatever else is computed beside it. That is what makes a request's result
//! independent of the batch, of chunking and of threads.
//!
//! Bodies are loops and `#[inline(always)]` functions without closures of their own: a closure that the compiler does not
//! inline is compiled for the baseline, and each fused multiply-add in it becomes a call.
//!
//! All unsafe code of the engine is here: the calls into functions compiled for a detected instruction set, and the
//! intrinsics of `x86`.
#![allow(unsafe_code)]

mod dispatch;
mod fold;
mod gate;
mod lanes;
mod line;
mod math;
mod matmul;
mod operand;
mod peak;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod x86;

pub(crate) use dispatch::Kernels;
pub(crate) use fold::{FoldStates, FoldView, Scratch};
pub(crate) use line::{LANES, Line};
pub(crate) use operand::{Form, Operand};

/// Tokens of one page, which is also one tile of attention: pages begin at absolute positions that are multiples of
/// this, so the tiles that a request's sums run over never depend on where a prefix ends.
pub const PAGE_TOKENS: usize = 64;
