//! Synthetic KV of any geometry, out of the channels of a real dump.
//!
//! For checks of size and speed at shapes whose real KV is not at hand. Every channel is the course of a real one over
//! consecutive tokens, so that means, spreads, tails and the order of tokens are real; how channels, heads and layers
//! hang together is not, and no quality may be measured on it.
//!
//! - Layer `l` of `n` comes from the real layer at the same depth; each of its heads takes as many real heads of that
//!   layer as its dimension needs, drawn at random, over a run of tokens that starts at a place drawn at random.
//! - Keys go in the pairs that RoPE rotates together: a pair comes from a real pair of the nearest frequency, with the
//!   rotation of its real position undone and that of its new position and frequency applied.
//! - First tokens of contexts, which often stand out, are there only where a run happens to start with them.

use kvdepot_codec::{self as codec, Error, Geometry, KvChunk, Result, Side, dump::KvDump};

use crate::elements;
use crate::rope::Rope;

/// Draws chunks of `chunk_tokens` tokens, `num_tokens` in all, from the channels of a dump. Equal seeds give equal KV.
///
/// The dtype of `shape` must be that of the dump; positions start where the dump's do.
///
/// # Errors
/// `Invalid` when the dump has fewer than `num_tokens` tokens, or other elements, or sizes are out of range.
pub fn synthesize(
    like: &KvDump<'_>,
    shape: Geometry,
    num_tokens: usize,
    chunk_tokens: usize,
    seed: u64,
) -> Result<Vec<KvChunk>> {
    let source = Source::read(like)?;
    if num_tokens > source.num_tokens || num_tokens == 0 || shape.dtype() != source.geometry.dtype() {
        return Err(Error::Invalid(format!(
            "{num_tokens} tokens of {} out of {} of {}",
            shape.dtype(),
            source.num_tokens,
            source.geometry.dtype()
        )));
    }
    let starts = (0..num_tokens).step_by(chunk_tokens.max(1));
    let mut chunks =
        starts.map(|start| KvChunk::zeroed(shape, chunk_tokens.min(num_tokens - start))).collect::<Result<Vec<_>>>()?;
    let mut draw = Draw(seed);
    for layer in 0..shape.num_layers() {
        for side in Side::BOTH {
            let planes = source.draw_plane(&mut draw, &shape, layer, side, num_tokens);
            scatter(&planes, &mut chunks, layer, side);
        }
    }
    Ok(chunks)
}

/// The real KV, with RoPE undone.
struct Source {
    geometry: Geometry,
    num_tokens: usize,
    rope: codec::Rope,
    first_position: u64,
    /// `[layer][K|V]`, each `[token][kv_head][head_dim]`.
    planes: Vec<[Vec<f32>; 2]>,
}

impl Source {
    fn read(like: &KvDump<'_>) -> Result<Self> {
        let (geometry, num_tokens) = (*like.geometry(), like.num_tokens());
        let mut planes = vec![[Vec::new(), Vec::new()]; geometry.num_layers()];
        let mut values = Vec::new();
        for start in (0..num_tokens).step_by(KvChunk::MAX_TOKENS) {
            let chunk = like.chunk(start, KvChunk::MAX_TOKENS.min(num_tokens - start))?;
            for (layer, planes) in planes.iter_mut().enumerate() {
                for (side, plane) in Side::BOTH.into_iter().zip(planes) {
                    elements::load_plane(&chunk, layer, side, &mut values)?;
                    plane.extend_from_slice(&values);
                }
            }
        }
        let mut source =
            Self { geometry, num_tokens, rope: like.origin().rope()?, first_position: like.first_position(), planes };
        source.undo_rope();
        Ok(source)
    }

    fn undo_rope(&mut self) {
        let rope = Rope::of(&self.rope, self.geometry.head_dim());
        for [keys, _] in &mut self.planes {
            for (token, heads) in keys.chunks_exact_mut(self.geometry.channels()).enumerate() {
                let rotation = rope.rotation(self.first_position + token as u64);
                heads.chunks_exact_mut(self.geometry.head_dim()).for_each(|head| rotation.undo(head));
            }
        }
    }

    /// One side of one layer of the new shape, `[token][kv_head][head_dim]`.
    fn draw_plane(&self, draw: &mut Draw, shape: &Geometry, layer: usize, side: Side, num_tokens: usize) -> Vec<f32> {
        let real_layer = layer * self.geometry.num_layers() / shape.num_layers();
        let real = &self.planes[real_layer][side as usize];
        let mut plane = vec![0f32; num_tokens * shape.channels()];
        for head in 0..shape.num_kv_heads() {
            let courses = self.draw_courses(draw, shape.head_dim(), side, num_tokens);
            for (token, values) in plane.chunks_exact_mut(shape.channels()).enumerate() {
                let values = &mut values[head * shape.head_dim()..][..shape.head_dim()];
                for (value, course) in values.iter_mut().zip(&courses) {
                    *value = real[(course.first_token + token) * self.geometry.channels() + course.channel];
                }
            }
        }
        if side == Side::K {
            self.apply_rope(shape, &mut plane);
        }
        plane
    }

    /// Where each channel of a new head comes from.
    fn draw_courses(&self, draw: &mut Draw, head_dim: usize, side: Side, num_tokens: usize) -> Vec<Course> {
        let real_dim = self.geometry.head_dim();
        let heads: Vec<(usize, usize)> = (0..head_dim.div_ceil(real_dim))
            .map(|_| (draw.below(self.geometry.num_kv_heads()), draw.below(self.num_tokens - num_tokens + 1)))
            .collect();
        let course = |d: usize| {
            // The halves of a key's head are mapped each to its own, so that pairs stay together.
            let (half, idx, size, real_size) = match side {
                Side::K if head_dim / 2 > 0 => (d / (head_dim / 2), d % (head_dim / 2), head_dim / 2, real_dim / 2),
                _ => (0, d, head_dim, real_dim),
            };
            let (head, first_token) = heads[idx % heads.len()];
            let real_d = (half * real_size + idx * real_size / size).min(real_dim - 1);
            Course { channel: head * real_dim + real_d, first_token }
        };
        (0..head_dim).map(course).collect()
    }

    fn apply_rope(&self, shape: &Geometry, keys: &mut [f32]) {
        let rope = Rope::of(&self.rope, shape.head_dim());
        for (token, heads) in keys.chunks_exact_mut(shape.channels()).enumerate() {
            let rotation = rope.rotation(self.first_position + token as u64);
            heads.chunks_exact_mut(shape.head_dim()).for_each(|head| rotation.apply(head));
        }
    }
}

/// A real channel from a token on.
struct Course {
    channel: usize,
    first_token: usize,
}

/// Cuts a plane into the chunks.
fn scatter(plane: &[f32], chunks: &mut [KvChunk], layer: usize, side: Side) {
    let mut rest = plane;
    for chunk in chunks {
        let (values, after) = rest.split_at(chunk.num_tokens() * chunk.geometry().channels());
        elements::store_plane(values, chunk, layer, side);
        rest = after;
    }
}

/// SplitMix64: the same numbers on every machine and in every version.
struct Draw(u64);

impl Draw {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        ((u128::from(mixed) * limit as u128) >> 64) as usize
    }
}
