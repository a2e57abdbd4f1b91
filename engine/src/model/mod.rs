//! The transformer: weights in their places, and one step over a ragged batch of tokens.
//!
//! Owns the forward pass of the Llama family. A step takes any mix of prefill chunks and single decode tokens; each
//! row of it is computed as if it were alone, bit for bit (see the `simd` and `attention` modules).

mod layer;
mod load;
mod norm;
mod rotary;

use std::convert::Infallible;
use std::ops::Range;
use std::path::Path;

pub(crate) use norm::RmsNorm;

use crate::attention::Plan;
use crate::config::ModelConfig;
use crate::kv::{KvLayout, Sequence};
use crate::linear::Packed;
use crate::meter::{AttentionWork, Meter};
use crate::rows::Rows;
use crate::runner::Sharing;
use crate::simd::Kernels;
use crate::{Precision, Result, WeightsDigest};
use layer::Layer;
use rotary::Rotary;

/// A model in memory, ready to compute.
#[derive(Debug)]
pub struct Model {
    config: ModelConfig,
    kernels: Kernels,
    digest: WeightsDigest,
    layout: KvLayout,
    embedding: Packed,
    layers: Vec<Layer>,
    norm: RmsNorm,
    /// None when the embedding is the head.
    head: Option<Packed>,
    rotary: Rotary,
    meter: Meter,
}

/// Tokens of one sequence that a step computes; they follow what the sequence holds.
pub(crate) struct Span<'a> {
    pub(crate) tokens: &'a [u32],
    /// Has pages for the tokens already.
    pub(crate) sequence: &'a mut Sequence,
    pub(crate) logits: WantedLogits,
}

/// After which tokens of a span the logits are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WantedLogits {
    None,
    Last,
    Every,
}

impl Model {
    /// Loads a Hugging Face directory. Without a precision it is bf16 where the weights are bf16, and f32 otherwise.
    ///
    /// # Errors
    /// `NotFound` where a file is missing, `Corrupt` where one contradicts itself or another, `Incompatible` where this
    /// engine does not compute that model.
    pub fn load(dir: &Path, precision: Option<Precision>) -> Result<Self> {
        load::load(dir, precision)
    }

    /// Shape of the model.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// What the model computes in.
    pub fn precision(&self) -> Precision {
        self.kernels.precision()
    }

    /// Digest of the weights it was loaded from.
    pub fn digest(&self) -> WeightsDigest {
        self.digest
    }

    /// What attention has taken since the model was loaded, over all callers.
    pub fn attention_work(&self) -> AttentionWork {
        self.meter.read()
    }

    /// Layout of its KV pages.
    pub(crate) fn layout(&self) -> KvLayout {
        self.layout
    }

    /// Computes the spans' tokens: writes their KV, and gives the wanted logits, `[wanted tokens, vocab]`, in order.
    ///
    /// Tokens are below the vocabulary's size, and sequences have pages for them.
    pub(crate) fn step(&self, spans: &mut [Span<'_>], sharing: Sharing) -> Rows {
        let done: Result<Rows, Infallible> = self.step_with(spans, sharing, |_, _| Ok(()));
        done.unwrap_or_else(|never| match never {})
    }

    /// As [`Self::step`], with `before` called before each layer: it may still write that layer of what the sequences hold.
    ///
    /// # Errors
    /// Those of `before`; what was written of the spans' tokens is then of no use.
    pub(crate) fn step_with<E>(
        &self,
        spans: &mut [Span<'_>],
        sharing: Sharing,
        mut before: impl FnMut(usize, &mut [Span<'_>]) -> Result<(), E>,
    ) -> Result<Rows, E> {
        let mut x = self.embed(spans);
        let plan = Plan::new(spans, sharing, self.config.group_size());
        let angles = self.rotary.angles(spans.iter().flat_map(Span::positions));
        for layer in &self.layers {
            before(layer.idx, spans)?;
            layer.forward(self, &plan, &angles, spans, &mut x);
        }
        for span in spans.iter_mut() {
            span.sequence.commit(span.tokens.len());
        }
        Ok(self.logits(spans, &x))
    }

    fn embed(&self, spans: &[Span<'_>]) -> Rows {
        let tokens: Vec<u32> = spans.iter().flat_map(|span| span.tokens).copied().collect();
        let mut x = Rows::zeroed(tokens.len(), self.config.hidden_size);
        x.for_each(|idx, row| self.embedding.read_row(tokens[idx] as usize, row));
        x
    }

    fn logits(&self, spans: &[Span<'_>], x: &Rows) -> Rows {
        let mut end = 0;
        let mut wanted = Vec::new();
        for span in spans {
            let start = end;
            end += span.tokens.len();
            wanted.extend(match span.logits {
                WantedLogits::None => end..end,
                WantedLogits::Last => end - 1..end,
                WantedLogits::Every => start..end,
            });
        }
        if wanted.is_empty() {
            return Rows::zeroed(0, self.config.vocab_size);
        }
        let x = self.norm.pack(&x.select(&wanted), self.kernels.form());
        self.head.as_ref().unwrap_or(&self.embedding).product(&x)
    }
}

impl Span<'_> {
    /// Positions of the tokens, before they are committed.
    pub(crate) fn positions(&self) -> Range<usize> {
        self.sequence.num_tokens()..self.sequence.num_tokens() + self.tokens.len()
    }
}
