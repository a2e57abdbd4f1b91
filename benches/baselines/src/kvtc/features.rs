//! A token's keys, or values, over all layers and heads as one vector: `[layer][kv_head][d]`, keys with RoPE undone.
//!
//! Matrices have a column per token.

use std::ops::Range;

use kvdepot_codec::{Geometry, KvChunk, Result, Side};
use nalgebra::DMatrix;

use super::SINK_TOKENS;
use crate::elements;
use crate::rope::Rope;

/// Calls `visit` for every plane, layer by layer.
pub(super) fn each_plane(geometry: &Geometry, mut visit: impl FnMut(usize, Side) -> Result<()>) -> Result<()> {
    for layer in 0..geometry.num_layers() {
        for side in Side::BOTH {
            visit(layer, side)?;
        }
    }
    Ok(())
}

/// Features of some tokens of a chunk whose token 0 is at `first_position`.
pub(super) fn gather(
    chunk: &KvChunk,
    tokens: Range<usize>,
    first_position: u64,
    rope: &Rope,
    side: Side,
) -> Result<DMatrix<f32>> {
    let (geometry, channels) = (chunk.geometry(), chunk.geometry().channels());
    let mut features = DMatrix::zeros(geometry.num_layers() * channels, tokens.len());
    let mut values = Vec::new();
    for layer in 0..geometry.num_layers() {
        elements::load_plane(chunk, layer, side, &mut values)?;
        let planes = values.chunks_exact(channels).skip(tokens.start);
        for (mut column, token) in features.column_iter_mut().zip(planes) {
            column.as_mut_slice()[layer * channels..][..channels].copy_from_slice(token);
        }
    }
    if side == Side::K {
        turn(&mut features, geometry.head_dim(), first_position + tokens.start as u64, rope, false);
    }
    Ok(features)
}

/// Tokens of a chunk but the first ones of its context.
pub(super) fn coded_tokens(first_position: u64, chunk: &KvChunk) -> Range<usize> {
    let sinks = (SINK_TOKENS as u64).saturating_sub(first_position) as usize;
    sinks.min(chunk.num_tokens())..chunk.num_tokens()
}

/// Features of the [`coded_tokens`] of chunks, each with the position of its token 0.
pub(super) fn gather_all(chunks: &[(u64, KvChunk)], rope: &Rope, side: Side) -> Result<DMatrix<f32>> {
    let mut columns = Vec::new();
    let mut num_tokens = 0;
    for (first_position, chunk) in chunks {
        let tokens = coded_tokens(*first_position, chunk);
        num_tokens += tokens.len();
        columns.extend_from_slice(gather(chunk, tokens, *first_position, rope, side)?.as_slice());
    }
    Ok(DMatrix::from_vec(columns.len() / num_tokens.max(1), num_tokens, columns))
}

/// Writes features back, as elements.
pub(super) fn scatter(
    mut features: DMatrix<f32>,
    chunk: &mut KvChunk,
    tokens: Range<usize>,
    first_position: u64,
    rope: &Rope,
    side: Side,
) {
    let geometry = *chunk.geometry();
    let (dtype, channels) = (geometry.dtype(), geometry.channels());
    if side == Side::K {
        let position = first_position.wrapping_add(tokens.start as u64);
        turn(&mut features, geometry.head_dim(), position, rope, true);
    }
    for layer in 0..geometry.num_layers() {
        let plane = chunk.plane_mut(layer, side).chunks_exact_mut(geometry.plane_bytes(1)).skip(tokens.start);
        for (column, token) in features.column_iter().zip(plane) {
            elements::store(dtype, &column.as_slice()[layer * channels..][..channels], token);
        }
    }
}

/// Rotates the heads of every token to its position, or back.
fn turn(features: &mut DMatrix<f32>, head_dim: usize, position: u64, rope: &Rope, forth: bool) {
    let mut position = position;
    for mut column in features.column_iter_mut() {
        let rotation = rope.rotation(position);
        for head in column.as_mut_slice().chunks_exact_mut(head_dim) {
            if forth { rotation.apply(head) } else { rotation.undo(head) }
        }
        position = position.wrapping_add(1);
    }
}
