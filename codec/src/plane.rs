//! Views of one plane: one side of one layer, `[token][kv_head][head_dim]`.

use crate::rows::BLOCK_CHANNELS;
use crate::tile::rans::LANES;
use crate::{Geometry, KvChunk, Side};

/// Shape of a plane and of the elements in it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PlaneShape {
    pub(crate) num_tokens: usize,
    pub(crate) num_kv_heads: usize,
    pub(crate) head_dim: usize,
    pub(crate) element_bytes: usize,
}

impl PlaneShape {
    /// Shape of a plane of `geometry` over `num_tokens` tokens.
    pub(crate) fn new(geometry: &Geometry, num_tokens: usize) -> Self {
        Self {
            num_tokens,
            num_kv_heads: geometry.num_kv_heads(),
            head_dim: geometry.head_dim(),
            element_bytes: geometry.dtype().bytes(),
        }
    }

    /// Bytes of one token: all heads.
    #[inline]
    pub(crate) fn token_bytes(&self) -> usize {
        self.num_kv_heads * self.head_bytes()
    }

    /// Bytes of one head of one token.
    #[inline]
    pub(crate) fn head_bytes(&self) -> usize {
        self.head_dim * self.element_bytes
    }

    /// Blocks of channels of a head; the last one may have fewer than [`BLOCK_CHANNELS`].
    pub(crate) fn num_blocks(&self) -> usize {
        self.head_dim.div_ceil(BLOCK_CHANNELS)
    }

    /// Channels of a block.
    #[inline]
    pub(crate) fn block_channels(&self, block: usize) -> usize {
        (self.head_dim - block * BLOCK_CHANNELS).min(BLOCK_CHANNELS)
    }

    /// Where the elements of a block of a head of a token lie in a plane.
    #[inline]
    fn range(&self, token: usize, head: usize, block: usize) -> std::ops::Range<usize> {
        let channel = head * self.head_dim + block * BLOCK_CHANNELS;
        let start = token * self.token_bytes() + channel * self.element_bytes;
        start..start + self.block_channels(block) * self.element_bytes
    }

    /// Where the elements of the first of 32 tokens from `first` on lie, in a block of a head; nothing where the plane ends
    /// before, or the block is not whole.
    #[inline]
    pub(crate) fn square_start(&self, first: usize, head: usize, block: usize) -> Option<usize> {
        let whole = first + LANES <= self.num_tokens && self.block_channels(block) == BLOCK_CHANNELS;
        whole.then(|| self.range(first, head, block).start)
    }

    /// One head, token by token: `head_dim` elements each.
    pub(crate) fn head<'a>(&self, plane: &'a [u8], head: usize) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let range = head * self.head_bytes()..(head + 1) * self.head_bytes();
        plane.chunks_exact(self.token_bytes()).map(move |token| &token[range.clone()])
    }

    /// One head, token by token, to write.
    pub(crate) fn head_mut<'a>(
        &self,
        plane: &'a mut [u8],
        head: usize,
    ) -> impl Iterator<Item = &'a mut [u8]> + use<'a> {
        let range = head * self.head_bytes()..(head + 1) * self.head_bytes();
        plane.chunks_exact_mut(self.token_bytes()).map(move |token| &mut token[range.clone()])
    }
}

/// A plane to encode, and where it belongs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plane<'a> {
    pub(crate) geometry: &'a Geometry,
    pub(crate) layer: usize,
    pub(crate) side: Side,
    pub(crate) shape: PlaneShape,
    pub(crate) bytes: &'a [u8],
}

/// One block of channels of one head of a plane, to read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BlockView<'a> {
    shape: PlaneShape,
    plane: &'a [u8],
    head: usize,
    block: usize,
}

impl<'a> BlockView<'a> {
    /// The elements of one token.
    #[inline]
    pub(crate) fn line(&self, token: usize) -> &'a [u8] {
        &self.plane[self.shape.range(token, self.head, self.block)]
    }
}

impl<'a> Plane<'a> {
    /// One plane of a chunk.
    pub(crate) fn of_chunk(chunk: &'a KvChunk, layer: usize, side: Side) -> Self {
        let (geometry, bytes) = (chunk.geometry(), chunk.plane(layer, side));
        Self { geometry, layer, side, shape: PlaneShape::new(geometry, chunk.num_tokens()), bytes }
    }

    /// The elements of one head of one token.
    pub(crate) fn head_line(&self, token: usize, head: usize) -> &'a [u8] {
        &self.bytes[token * self.shape.token_bytes() + head * self.shape.head_bytes()..][..self.shape.head_bytes()]
    }

    /// A block of channels of a head.
    pub(crate) fn block(&self, head: usize, block: usize) -> BlockView<'a> {
        BlockView { shape: self.shape, plane: self.bytes, head, block }
    }
}

/// One block of channels of one head of a plane, to write.
#[derive(Debug)]
pub(crate) struct BlockViewMut<'a> {
    shape: PlaneShape,
    plane: &'a mut [u8],
    head: usize,
    block: usize,
}

impl<'a> BlockViewMut<'a> {
    /// A block of channels of a head.
    pub(crate) fn new(shape: &PlaneShape, plane: &'a mut [u8], head: usize, block: usize) -> Self {
        Self { shape: *shape, plane, head, block }
    }

    /// The elements of one token.
    #[inline]
    pub(crate) fn line_mut(&mut self, token: usize) -> &mut [u8] {
        &mut self.plane[self.shape.range(token, self.head, self.block)]
    }
}
