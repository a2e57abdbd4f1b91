//! Attention of a block of query rows to one page, folded into the rows' running states.
//!
//! Source: online softmax as in FlashAttention (arXiv 2205.14135, section 3.1). A state is a partial result
//! `(out / sum, lse)` in unnormalised form, with `lse = ln(2) * (max + log2(sum))`; a fold merges the page's own
//! partial into it by log-sum-exp.

use super::PAGE_TOKENS;
use super::dispatch::Job;
use super::lanes::Lanes;
use super::line::{LANES, Line};
use super::math::{exp2, reduce};
use super::matmul::matmul;

/// Panels of a page's keys: groups of sixteen tokens.
const KEY_PANELS: usize = PAGE_TOKENS / LANES;

/// What a fold reads: query rows and one page of one KV head.
pub(crate) struct FoldView<'a> {
    /// `[rows, words]`
    pub(crate) q: &'a [u32],
    /// `[PAGE_TOKENS / 16, lines]`: panels of tokens.
    pub(crate) keys: &'a [Line],
    /// `[head_dim / 16, lines of PAGE_TOKENS]`: panels of channels.
    pub(crate) values: &'a [Line],
    /// Tokens of this page that each row may see, from its first.
    pub(crate) visible: &'a [usize],
    /// `log2(e) / sqrt(head_dim)`: scores are powers of two.
    pub(crate) scale: f32,
}

/// Running states of a block of rows.
pub(crate) struct FoldStates<'a> {
    /// Largest scaled score of each row; minus infinity before the first page.
    pub(crate) max: &'a mut [f32],
    /// Sum of `2^(score - max)` of each row.
    pub(crate) sum: &'a mut [f32],
    /// `[rows, head_dim / 16]`: sum of `2^(score - max) * value`.
    pub(crate) out: &'a mut [[f32; LANES]],
}

/// Room for the products of one fold.
#[derive(Default)]
pub(crate) struct Scratch {
    scores: Vec<[f32; LANES]>,
    weights: Vec<u32>,
    sums: Vec<[f32; LANES]>,
}

/// One fold.
pub(super) struct Fold<'a> {
    pub(super) view: FoldView<'a>,
    pub(super) states: FoldStates<'a>,
    pub(super) scratch: &'a mut Scratch,
}

impl Job for Fold<'_> {
    #[inline(always)]
    fn run<L: Lanes>(self) {
        let Self { view, states, scratch } = self;
        let rows = view.visible.len();
        let page_words = L::FORM.words(PAGE_TOKENS);
        let out_panels = states.out.len() / rows;
        scratch.scores.resize(KEY_PANELS * rows, [0.0; LANES]);
        scratch.weights.resize(rows * page_words, 0);
        scratch.sums.resize(out_panels * rows, [0.0; LANES]);

        matmul::<L>(view.q, rows, view.keys, &mut scratch.scores);
        for (row, weights) in scratch.weights.chunks_exact_mut(page_words).enumerate() {
            let mut scores = [[0.0; LANES]; KEY_PANELS];
            for (panel, lanes) in scores.iter_mut().enumerate() {
                *lanes = scratch.scores[panel * rows + row];
            }
            mask(scores.as_flattened_mut(), view.scale, view.visible[row]);
            let decay = weigh::<L>(&mut scores, &mut states.max[row], &mut states.sum[row]);
            L::FORM.pack(scores.as_flattened(), weights);
            // Most pages leave the maximum as it is.
            if decay != 1.0 {
                for value in states.out[row * out_panels..][..out_panels].as_flattened_mut() {
                    *value *= decay;
                }
            }
        }
        matmul::<L>(&scratch.weights, rows, view.values, &mut scratch.sums);
        for (row, out) in states.out.chunks_exact_mut(out_panels).enumerate() {
            for (panel, out) in out.iter_mut().enumerate() {
                let sums = &scratch.sums[panel * rows + row];
                for (value, sum) in out.iter_mut().zip(sums) {
                    *value += sum;
                }
            }
        }
    }
}

/// Scales scores, and puts those past the visible tokens at minus infinity.
#[inline(always)]
fn mask(scores: &mut [f32], scale: f32, visible: usize) {
    for score in scores.iter_mut() {
        *score *= scale;
    }
    scores[visible..].fill(f32::NEG_INFINITY);
}

/// Turns scores into weights `2^(score - max)` under the new maximum, adds them to the sum, and gives the factor that
/// brings what was summed before to the new maximum.
#[inline(always)]
fn weigh<L: Lanes>(scores: &mut [[f32; LANES]; KEY_PANELS], max: &mut f32, sum: &mut f32) -> f32 {
    let mut lanes = scores[0];
    for panel in &scores[1..] {
        for (lane, &score) in lanes.iter_mut().zip(panel) {
            *lane = larger(*lane, score);
        }
    }
    let new_max = larger(*max, reduce(lanes, larger));
    let mut lanes = [0.0; LANES];
    for panel in scores.iter_mut() {
        for (lane, score) in lanes.iter_mut().zip(panel) {
            let weight = exp2::<L>(*score - new_max);
            *score = if *score == f32::NEG_INFINITY { 0.0 } else { weight };
            *lane += *score;
        }
    }
    let decay = exp2::<L>(*max - new_max);
    *max = new_max;
    *sum = *sum * decay + reduce(lanes, |a, b| a + b);
    decay
}

#[inline(always)]
fn larger(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}
