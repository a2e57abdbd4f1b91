//! One transformer layer: attention and MLP, each added to the residual stream.

use kvdepot_codec::Side;

use super::rotary::Angles;
use super::{Model, RmsNorm, Span};
use crate::Precision;
use crate::attention::Plan;
use crate::linear::Linear;
use crate::rows::Rows;

/// Weights of one layer; projections of one input are stacked into one matrix.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) idx: usize,
    pub(super) attention_norm: RmsNorm,
    /// Queries, then keys, then values.
    pub(super) qkv: Linear,
    /// Norms of each head of queries and keys (Qwen3).
    pub(super) qk_norms: Option<[RmsNorm; 2]>,
    pub(super) out: Linear,
    pub(super) mlp_norm: RmsNorm,
    /// Gate, then up.
    pub(super) gate_up: Linear,
    pub(super) down: Linear,
}

impl Layer {
    /// Adds the layer's work to the residual stream `x`, and writes the KV of its tokens.
    pub(super) fn forward(&self, model: &Model, plan: &Plan, angles: &Angles, spans: &mut [Span<'_>], x: &mut Rows) {
        let form = model.kernels.form();
        let mut qkv = self.project_heads(model, self.attention_norm.rows(x));
        self.place_heads(model, angles, &mut qkv);
        self.write_kv(model, &qkv, spans);
        let attended = plan.attend(&model.kernels, &model.layout, self.idx, &qkv, spans, &model.meter);
        x.add(&self.out.forward(&attended.pack(form)));

        let gate_up = self.gate_up.forward(&self.mlp_norm.pack(x, form));
        let width = model.config.intermediate_size;
        let gated = gate_up.pack_map(form, width, |row, out| {
            let (gate, up) = row.split_at(width);
            model.kernels.gate(gate, up, out);
        });
        x.add(&self.down.forward(&gated));
    }

    /// Queries, keys and values of normalised rows.
    ///
    /// What rounds these rows moves every score, and the softmax amplifies it: with the rest that bf16 drops added as a
    /// second product, the logits' error on a random Mistral went from 2.6e-2 to 1.0e-2. No other product does as much.
    /// Both are taken in one pass over the weights, which is what a step of few rows waits for.
    fn project_heads(&self, model: &Model, mut normalised: Rows) -> Rows {
        let num_rows = normalised.num_rows();
        if model.precision() != Precision::F32 {
            normalised.append(normalised.rest(model.precision()));
        }
        let mut qkv = self.qkv.weight.product(&normalised.pack(model.kernels.form()));
        qkv.add_tail(num_rows);
        self.qkv.add_bias(&mut qkv);
        qkv
    }

    /// Normalises queries and keys where the model does, and turns them to their positions.
    fn place_heads(&self, model: &Model, angles: &Angles, qkv: &mut Rows) {
        let config = &model.config;
        qkv.for_each(|idx, row| {
            let (queries, rest) = row.split_at_mut(config.q_width());
            let keys = &mut rest[..config.kv_width()];
            for (side, heads) in [queries, keys].into_iter().enumerate() {
                for head in heads.chunks_exact_mut(config.head_dim) {
                    if let Some(norms) = &self.qk_norms {
                        norms[side].apply(head);
                    }
                    angles.apply(idx, head);
                }
            }
        });
    }

    fn write_kv(&self, model: &Model, qkv: &Rows, spans: &mut [Span<'_>]) {
        let config = &model.config;
        let mut row = 0;
        for span in spans {
            for position in span.positions() {
                let (keys, values) = qkv.row(row)[config.q_width()..].split_at(config.kv_width());
                for (side, heads) in [(Side::K, keys), (Side::V, values)] {
                    for (kv_head, head) in heads.chunks_exact(config.head_dim).enumerate() {
                        span.sequence.write(&model.layout, (self.idx, kv_head, side), position, head);
                    }
                }
                row += 1;
            }
        }
    }
}
