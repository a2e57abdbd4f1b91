//! Rotary position embedding, applied.
//!
//! Source: RoFormer (arXiv 2104.09864), in the pairing of the Llama family: channel `i` with `i + head_dim / 2`.

use crate::config::ModelConfig;

/// Frequencies of a model.
#[derive(Debug)]
pub(crate) struct Rotary {
    frequencies: Vec<f32>,
}

/// Cosines and sines of a step's rows.
pub(crate) struct Angles {
    pairs: usize,
    /// `[rows, pairs]` of `(cos, sin)`.
    turns: Vec<(f32, f32)>,
}

impl Rotary {
    pub(crate) fn new(config: &ModelConfig) -> Self {
        Self { frequencies: config.rope.frequencies(config.head_dim) }
    }

    /// Angles of one row per position.
    pub(crate) fn angles(&self, positions: impl Iterator<Item = usize>) -> Angles {
        let turn = |position: usize, frequency: f32| {
            let (sin, cos) = f64::from(position as f32 * frequency).sin_cos();
            (cos as f32, sin as f32)
        };
        let turns = positions.flat_map(|position| self.frequencies.iter().map(move |&f| turn(position, f))).collect();
        Angles { pairs: self.frequencies.len(), turns }
    }
}

impl Angles {
    /// Turns one head of one row by the row's angles.
    pub(crate) fn apply(&self, row: usize, head: &mut [f32]) {
        let turns = &self.turns[row * self.pairs..(row + 1) * self.pairs];
        let (first, second) = head.split_at_mut(self.pairs);
        for ((a, b), (cos, sin)) in first.iter_mut().zip(second).zip(turns) {
            (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
        }
    }
}
