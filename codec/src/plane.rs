//! Views of one plane: one side of one layer, `[token][kv_head][head_dim]`.

use crate::{Geometry, Side};

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
    pub(crate) fn token_bytes(&self) -> usize {
        self.num_kv_heads * self.head_bytes()
    }

    /// Bytes of one head of one token.
    pub(crate) fn head_bytes(&self) -> usize {
        self.head_dim * self.element_bytes
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

/// Some consecutive channels of one head of a plane, to write.
#[derive(Debug)]
pub(crate) struct ChannelBlock<'a> {
    /// The plane from the block's first element on.
    bytes: &'a mut [u8],
    token_bytes: usize,
    element_bytes: usize,
}

impl<'a> ChannelBlock<'a> {
    /// The channels of `head` from `first_channel` on.
    pub(crate) fn new(shape: &PlaneShape, plane: &'a mut [u8], head: usize, first_channel: usize) -> Self {
        let start = (head * shape.head_dim + first_channel) * shape.element_bytes;
        Self { bytes: &mut plane[start..], token_bytes: shape.token_bytes(), element_bytes: shape.element_bytes }
    }

    /// One element of a token.
    pub(crate) fn element_mut(&mut self, token: usize, channel: usize) -> &mut [u8] {
        let start = token * self.token_bytes + channel * self.element_bytes;
        &mut self.bytes[start..start + self.element_bytes]
    }

    /// The first 64 bytes of a token's channels.
    pub(crate) fn line_mut(&mut self, token: usize) -> &mut [u8; 64] {
        let start = token * self.token_bytes;
        self.bytes[start..].first_chunk_mut().expect("a block of 64 bytes lies inside its plane")
    }
}

/// One head of a plane, to read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HeadView<'a> {
    /// The plane from the head's first element on.
    bytes: &'a [u8],
    token_bytes: usize,
    head_bytes: usize,
    pub(crate) head_dim: usize,
    pub(crate) num_tokens: usize,
}

impl<'a> HeadView<'a> {
    /// One head of a plane.
    pub(crate) fn new(shape: &PlaneShape, plane: &'a [u8], head: usize) -> Self {
        Self {
            bytes: &plane[head * shape.head_bytes()..],
            token_bytes: shape.token_bytes(),
            head_bytes: shape.head_bytes(),
            head_dim: shape.head_dim,
            num_tokens: shape.num_tokens,
        }
    }

    /// The elements of one token.
    pub(crate) fn token(&self, token: usize) -> &'a [u8] {
        &self.bytes[token * self.token_bytes..][..self.head_bytes]
    }
}
