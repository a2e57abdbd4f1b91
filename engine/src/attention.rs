//! Attention of a step's queries to paged KV: shared prefixes once for all their requests, the rest per request.
//!
//! Rows are (token, query head) pairs; those of one KV head are taken in blocks. A block goes from position to position:
//! neighbours that hold the same page there are stacked and read it once, so that prefixes are shared at every level of the
//! tree that requests form, and nobody has to say which. Keys and values are never expanded for grouped-query heads.
//!
//! A page is folded into a row's state the same way whoever else is in the block, and pages are folded in the order of
//! their positions: what is shared changes who reads a page together, never a bit of the result.
//!
//! Source: BatchLLM (arXiv 2412.03594, section 5), prefix and distinct parts merged by log-sum-exp.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use kvdepot_codec::Side;
use rayon::prelude::*;

use crate::kv::{KvLayout, Page};
use crate::meter::{AttentionWork, Meter};
use crate::model::Span;
use crate::rows::Rows;
use crate::runner::Sharing;
use crate::simd::{FoldStates, FoldView, Kernels, LANES, Operand, PAGE_TOKENS, Scratch};

/// Rows of one block: enough to use a page well while it is in the cache, few enough to spread over threads.
const BLOCK_ROWS: usize = 64;

/// How a step's rows are cut into blocks; the same for every layer and KV head.
#[derive(Debug)]
pub(crate) struct Plan {
    blocks: Vec<Block>,
    /// Query heads that share one KV head.
    group_size: usize,
}

/// Tokens whose rows are stacked where they can be.
#[derive(Debug, Default)]
struct Block {
    runs: Vec<Run>,
}

/// Consecutive tokens of one span.
#[derive(Debug)]
struct Run {
    /// The span, which names the pages.
    span: usize,
    /// Rows of the step that hold the tokens.
    tokens: Range<usize>,
    /// Position of the first token.
    position: usize,
}

impl Run {
    /// Pages that hold what the run's last token sees.
    fn num_pages(&self) -> usize {
        (self.position + self.tokens.len()).div_ceil(PAGE_TOKENS)
    }
}

impl Plan {
    /// Cuts the tokens into blocks; spans that share pages had better be neighbours. Without sharing, no block has two spans.
    pub(crate) fn new(spans: &[Span<'_>], sharing: Sharing, group_size: usize) -> Self {
        let block_tokens = (BLOCK_ROWS / group_size).max(1);
        let (mut blocks, mut room, mut row) = (Vec::<Block>::new(), 0, 0);
        for (idx, span) in spans.iter().enumerate() {
            let mut positions = span.positions();
            while !positions.is_empty() {
                if room == 0 || sharing == Sharing::Off && positions.start == span.sequence.num_tokens() {
                    blocks.push(Block::default());
                    room = block_tokens;
                }
                let count = room.min(positions.len());
                let run = Run { span: idx, tokens: row..row + count, position: positions.start };
                blocks.last_mut().expect("pushed above").runs.push(run);
                (row, room, positions.start) = (row + count, room - count, positions.start + count);
            }
        }
        Self { blocks, group_size }
    }

    /// Attention of one layer: `[tokens, q_heads * head_dim]` from `qkv`, whose rows begin with the queries.
    pub(crate) fn attend(
        &self,
        kernels: &Kernels,
        layout: &KvLayout,
        layer: usize,
        qkv: &Rows,
        spans: &[Span<'_>],
        meter: &Meter,
    ) -> Rows {
        let started = Instant::now();
        let geometry = layout.geometry;
        let layer = LayerView { kernels, layout, layer, plan: self, qkv, spans };
        let tasks: Vec<(&Block, usize)> =
            self.blocks.iter().flat_map(|block| (0..geometry.num_kv_heads()).map(move |head| (block, head))).collect();
        let outputs: Vec<Attended> = tasks.par_iter().map(|(block, head)| layer.attend(block, *head)).collect();

        let head_dim = geometry.head_dim();
        let mut out = Rows::zeroed(qkv.num_rows(), geometry.num_kv_heads() * self.group_size * head_dim);
        for ((block, kv_head), output) in tasks.into_iter().zip(&outputs) {
            for (row, (token, q_head)) in layer.rows(block, kv_head).enumerate() {
                out.row_mut(token)[q_head * head_dim..][..head_dim].copy_from_slice(&output.rows.row(row)[..head_dim]);
            }
        }
        let kv_bytes = outputs.iter().map(|output| output.kv_bytes).sum();
        meter.count(AttentionWork { elapsed: started.elapsed(), kv_bytes });
        out
    }
}

/// Attention of one block at one KV head.
struct Attended {
    /// `[rows, channels rounded up to panels]`
    rows: Rows,
    /// Bytes of the pages that were read.
    kv_bytes: u64,
}

/// One layer's inputs.
struct LayerView<'a> {
    kernels: &'a Kernels,
    layout: &'a KvLayout,
    layer: usize,
    plan: &'a Plan,
    qkv: &'a Rows,
    spans: &'a [Span<'a>],
}

impl LayerView<'_> {
    /// Token and query head of each row of a block: runs in order, then tokens, then heads.
    fn rows(&self, block: &Block, kv_head: usize) -> impl Iterator<Item = (usize, usize)> {
        let heads = kv_head * self.plan.group_size..(kv_head + 1) * self.plan.group_size;
        block
            .runs
            .iter()
            .flat_map(|run| run.tokens.clone())
            .flat_map(move |token| heads.clone().map(move |head| (token, head)))
    }

    /// Attention of one block at one KV head.
    fn attend(&self, block: &Block, kv_head: usize) -> Attended {
        let seen: Vec<usize> = block
            .runs
            .iter()
            .flat_map(|run| run.position + 1..=run.position + run.tokens.len())
            .flat_map(|seen| std::iter::repeat_n(seen, self.plan.group_size))
            .collect();
        let queries = self.pack_queries(block, kv_head, seen.len());
        let mut states = States::new(queries, seen, self.layout.value_panels());
        let mut num_folds = 0;
        for idx in 0..block.runs.iter().map(Run::num_pages).max().unwrap_or(0) {
            let mut first_row = 0;
            for stack in block.runs.chunk_by(|a, b| self.share_page(a, b, idx)) {
                let rows = stack.iter().map(|run| run.tokens.len()).sum::<usize>() * self.plan.group_size;
                if let Some(page) = self.page(&stack[0], idx) {
                    self.fold(&mut states, first_row..first_row + rows, kv_head, idx, page);
                    num_folds += 1;
                }
                first_row += rows;
            }
        }
        Attended { rows: states.normalised(), kv_bytes: num_folds * self.layout.head_bytes() as u64 }
    }

    /// The page of index `idx` that a run sees.
    fn page(&self, run: &Run, idx: usize) -> Option<&Arc<Page>> {
        self.spans[run.span].sequence.pages()[..run.num_pages()].get(idx)
    }

    /// Whether two runs read their pages of index `idx` together: one page, or none.
    fn share_page(&self, a: &Run, b: &Run, idx: usize) -> bool {
        match (self.page(a, idx), self.page(b, idx)) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (None, None) => true,
            _ => false,
        }
    }

    fn pack_queries(&self, block: &Block, kv_head: usize, num_rows: usize) -> Operand {
        let head_dim = self.layout.geometry.head_dim();
        let form = self.kernels.form();
        let mut queries = Operand::zeroed(form, num_rows, head_dim);
        for (words, (token, head)) in queries.rows_mut().zip(self.rows(block, kv_head)) {
            form.pack(&self.qkv.row(token)[head * head_dim..][..head_dim], words);
        }
        queries
    }

    /// Folds the page of index `idx` into the states of `rows`.
    fn fold(&self, states: &mut States, rows: Range<usize>, kv_head: usize, idx: usize, page: &Page) {
        let position = idx * PAGE_TOKENS;
        states.visible.clear();
        let in_page = |seen: &usize| seen.saturating_sub(position).min(PAGE_TOKENS);
        states.visible.extend(states.seen[rows.clone()].iter().map(in_page));
        let view = FoldView {
            q: states.queries.rows(rows.clone()),
            keys: &page.lines()[self.layout.lines(self.layer, kv_head, Side::K)],
            values: &page.lines()[self.layout.lines(self.layer, kv_head, Side::V)],
            visible: &states.visible,
            scale: std::f32::consts::LOG2_E / (self.layout.geometry.head_dim() as f32).sqrt(),
        };
        let fold_states = FoldStates {
            max: &mut states.max[rows.clone()],
            sum: &mut states.sum[rows.clone()],
            out: &mut states.out[rows.start * states.panels..rows.end * states.panels],
        };
        self.kernels.fold(view, fold_states, &mut states.scratch);
    }
}

/// Queries of a block's rows, and what they have gathered so far.
struct States {
    queries: Operand,
    /// Tokens that each row sees, counted from position 0.
    seen: Vec<usize>,
    /// Panels of channels of one row's output.
    panels: usize,
    max: Vec<f32>,
    sum: Vec<f32>,
    /// `[rows, panels]`
    out: Vec<[f32; LANES]>,
    visible: Vec<usize>,
    scratch: Scratch,
}

impl States {
    fn new(queries: Operand, seen: Vec<usize>, panels: usize) -> Self {
        let rows = seen.len();
        Self {
            queries,
            seen,
            panels,
            max: vec![f32::NEG_INFINITY; rows],
            sum: vec![0.0; rows],
            out: vec![[0.0; LANES]; rows * panels],
            visible: Vec::with_capacity(rows),
            scratch: Scratch::default(),
        }
    }

    fn normalised(self) -> Rows {
        let mut out = Rows::zeroed(self.seen.len(), self.panels * LANES);
        for (row, values) in self.out.chunks_exact(self.panels).enumerate() {
            let scale = 1.0 / self.sum[row];
            out.row_mut(row).iter_mut().zip(values.as_flattened()).for_each(|(out, value)| *out = value * scale);
        }
        out
    }
}
