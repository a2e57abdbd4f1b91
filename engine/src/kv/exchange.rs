//! The way in and out: pages to and from chunks in the canonical layout, bit for bit.

use std::ops::Range;

use kvdepot_codec::{KvChunk, Side};

use super::{KvLayout, KvPool, Sequence};
use crate::simd::{Line, PAGE_TOKENS};
use crate::{Error, Result};

impl Sequence {
    /// Copies a range of tokens out.
    ///
    /// # Errors
    /// `Invalid` when the range is empty, longer than a chunk may be, or not held.
    pub(crate) fn export(&self, layout: &KvLayout, tokens: Range<usize>) -> Result<KvChunk> {
        if tokens.end > self.num_tokens() || tokens.start > tokens.end {
            let held = self.num_tokens();
            return Err(Error::Invalid(format!("tokens {tokens:?} are asked for where {held} are held")));
        }
        let mut chunk = KvChunk::zeroed(layout.geometry, tokens.len())?;
        for (layer, side) in planes(layout) {
            let plane = Plane { layout, layer, side };
            let rows = chunk.plane_mut(layer, side).chunks_exact_mut(plane.token_bytes());
            for (position, row) in tokens.clone().zip(rows) {
                plane.read(self.pages()[position / PAGE_TOKENS].lines(), position % PAGE_TOKENS, row);
            }
        }
        Ok(chunk)
    }

    /// Appends a range of the tokens of a chunk.
    ///
    /// # Errors
    /// `Invalid` when the chunk's geometry is not this model's or it does not hold the range, `Busy` when the pool has no room
    /// for its pages.
    pub(crate) fn import(&mut self, pool: &KvPool, chunk: &KvChunk, tokens: Range<usize>) -> Result<()> {
        let layout = pool.layout();
        check_geometry(layout, chunk)?;
        if tokens.end > chunk.num_tokens() || tokens.start > tokens.end {
            let held = chunk.num_tokens();
            return Err(Error::Invalid(format!("tokens {tokens:?} are taken of a chunk that holds {held}")));
        }
        let start = self.num_tokens();
        self.reserve(pool, start + tokens.len())?;
        for layer in 0..layout.geometry.num_layers() {
            self.write_layer(layout, layer, start, (chunk, tokens.clone()));
        }
        self.commit(tokens.len());
        Ok(())
    }

    /// Writes one layer of a prefix whose tokens have pages: that of `chunks`, from position 0 on.
    ///
    /// # Errors
    /// `Invalid` when a chunk's geometry is not this model's, or they hold another number of tokens than `num_tokens`.
    pub(crate) fn import_layer(
        &mut self,
        layout: &KvLayout,
        layer: usize,
        num_tokens: usize,
        chunks: &[KvChunk],
    ) -> Result<()> {
        check_held(num_tokens, chunks)?;
        let mut start = 0;
        for chunk in chunks {
            check_geometry(layout, chunk)?;
            self.write_layer(layout, layer, start, (chunk, 0..chunk.num_tokens()));
            start += chunk.num_tokens();
        }
        Ok(())
    }

    /// Writes one layer of some tokens of a chunk, which has them, from position `start` on.
    fn write_layer(
        &mut self,
        layout: &KvLayout,
        layer: usize,
        start: usize,
        (chunk, tokens): (&KvChunk, Range<usize>),
    ) {
        for side in Side::BOTH {
            let plane = Plane { layout, layer, side };
            let rows = chunk.plane(layer, side).chunks_exact(plane.token_bytes());
            for (position, row) in (start..).zip(rows.skip(tokens.start).take(tokens.len())) {
                plane.write(self.own_page(position / PAGE_TOKENS).lines_mut(), position % PAGE_TOKENS, row);
            }
        }
    }
}

/// Refuses chunks that hold another number of tokens.
pub(crate) fn check_held(num_tokens: usize, chunks: &[KvChunk]) -> Result<()> {
    let held: usize = chunks.iter().map(KvChunk::num_tokens).sum();
    if held != num_tokens {
        return Err(Error::Invalid(format!("chunks hold {held} tokens where {num_tokens} are named")));
    }
    Ok(())
}

fn check_geometry(layout: &KvLayout, chunk: &KvChunk) -> Result<()> {
    let (theirs, ours) = (chunk.geometry(), &layout.geometry);
    if theirs != ours {
        return Err(Error::Invalid(format!("a chunk of {theirs:?} where the model has {ours:?}")));
    }
    Ok(())
}

fn planes(layout: &KvLayout) -> impl Iterator<Item = (usize, Side)> + use<> {
    (0..layout.geometry.num_layers()).flat_map(|layer| Side::BOTH.map(|side| (layer, side)))
}

/// One side of one layer of a page.
struct Plane<'a> {
    layout: &'a KvLayout,
    layer: usize,
    side: Side,
}

impl Plane<'_> {
    /// Bytes of one token: `[kv_head][head_dim]`.
    fn token_bytes(&self) -> usize {
        self.layout.geometry.plane_bytes(1)
    }

    fn head_bytes(&self) -> usize {
        self.token_bytes() / self.layout.geometry.num_kv_heads()
    }

    fn read(&self, lines: &[Line], token: usize, row: &mut [u8]) {
        let element = self.layout.geometry.dtype().bytes();
        for (kv_head, head) in row.chunks_exact_mut(self.head_bytes()).enumerate() {
            let start = self.layout.lines(self.layer, kv_head, self.side).start;
            for (channel, bytes) in head.chunks_exact_mut(element).enumerate() {
                let place = self.layout.place(self.side, start, token, channel);
                let bits = self.layout.precision.extract(lines[place.line].0[place.lane], place.idx);
                bytes.copy_from_slice(&bits.to_le_bytes()[..element]);
            }
        }
    }

    fn write(&self, lines: &mut [Line], token: usize, row: &[u8]) {
        let element = self.layout.geometry.dtype().bytes();
        for (kv_head, head) in row.chunks_exact(self.head_bytes()).enumerate() {
            let start = self.layout.lines(self.layer, kv_head, self.side).start;
            for (channel, bytes) in head.chunks_exact(element).enumerate() {
                let mut bits = [0; 4];
                bits[..element].copy_from_slice(bytes);
                let place = self.layout.place(self.side, start, token, channel);
                let word = &mut lines[place.line].0[place.lane];
                self.layout.precision.insert(word, place.idx, u32::from_le_bytes(bits));
            }
        }
    }
}
