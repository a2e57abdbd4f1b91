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

    /// Element `d` of one head in every token, to write.
    pub(crate) fn channel_mut<'a>(
        &self,
        plane: &'a mut [u8],
        head: usize,
        d: usize,
    ) -> impl Iterator<Item = &'a mut [u8]> + use<'a> {
        let range = d * self.element_bytes..(d + 1) * self.element_bytes;
        self.head_mut(plane, head).map(move |elements| &mut elements[range.clone()])
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
