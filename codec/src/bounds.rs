//! How large encoded things get at most.

use crate::tile::index::ENTRY_BYTES;
use crate::{EncodeOptions, Geometry, levels, segment};

/// Most bytes of a segment, at any level and geometry: encoders refuse what may exceed it.
pub const MAX_SEGMENT_BYTES: usize = 256 << 20;

/// Most bytes that a segment of `num_tokens` tokens can take, of any quality layer.
pub fn segment_bytes(geometry: &Geometry, num_tokens: usize, options: &EncodeOptions) -> usize {
    let layers = options.group_size().min(geometry.num_layers());
    let tile = ENTRY_BYTES + levels::max_tile_bytes(options.level, geometry, num_tokens);
    let preamble = levels::max_preamble_bytes(options.level, 0, geometry, num_tokens);
    segment::HEADER_BYTES + segment::SCALING_BYTES + layers * (preamble + geometry.num_kv_heads() * tile)
}

/// Most bytes of all segments of a chunk of `num_tokens` tokens.
pub fn chunk_bytes(geometry: &Geometry, num_tokens: usize, options: &EncodeOptions) -> usize {
    options.segment_keys(geometry).count() * segment_bytes(geometry, num_tokens, options)
}
