//! Where the elements of a page lie.

use std::ops::Range;

use kvdepot_codec::{Geometry, Side};

use crate::simd::{LANES, Line, PAGE_TOKENS};
use crate::{ModelConfig, Precision, Result};

/// Layout of a page: `[layer][kv_head]`, each holding keys as panels of sixteen tokens and values as panels of sixteen
/// channels, which is how the attention kernel reads them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KvLayout {
    pub(crate) precision: Precision,
    pub(crate) geometry: Geometry,
}

/// Place of one element: a line of the page, a lane of the line, and the element's index within the lane's word.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) line: usize,
    pub(crate) lane: usize,
    pub(crate) idx: usize,
}

impl KvLayout {
    pub(crate) fn new(config: &ModelConfig, precision: Precision) -> Result<Self> {
        Ok(Self { precision, geometry: config.geometry(precision)? })
    }

    /// Lines of one page.
    pub(crate) fn page_lines(&self) -> usize {
        self.geometry.num_layers() * self.geometry.num_kv_heads() * self.head_lines()
    }

    /// Bytes of one page.
    pub(crate) fn page_bytes(&self) -> usize {
        self.page_lines() * size_of::<Line>()
    }

    /// Bytes of one page's keys and values of one layer and head.
    pub(crate) fn head_bytes(&self) -> usize {
        self.head_lines() * size_of::<Line>()
    }

    /// Panels of channels of one head's values.
    pub(crate) fn value_panels(&self) -> usize {
        self.geometry.head_dim().div_ceil(LANES)
    }

    /// Lines of the keys, or of the values, of one layer and head: what the attention kernel takes.
    pub(crate) fn lines(&self, layer: usize, kv_head: usize, side: Side) -> Range<usize> {
        let start = (layer * self.geometry.num_kv_heads() + kv_head) * self.head_lines();
        match side {
            Side::K => start..start + self.key_lines(),
            Side::V => start + self.key_lines()..start + self.head_lines(),
        }
    }

    /// Place of element `channel` of a token's key or value, in a head whose lines of that side begin at `start`.
    pub(crate) fn place(&self, side: Side, start: usize, token: usize, channel: usize) -> Place {
        let (panel_of, depth, panel_lines) = match side {
            Side::K => (token, channel, self.key_words()),
            Side::V => (channel, token, self.precision.words(PAGE_TOKENS)),
        };
        let line = start + panel_of / LANES * panel_lines + self.precision.word_of(depth);
        Place { line, lane: panel_of % LANES, idx: depth }
    }

    /// Words of one token's key in one head.
    fn key_words(&self) -> usize {
        self.precision.words(self.geometry.head_dim())
    }

    fn key_lines(&self) -> usize {
        PAGE_TOKENS / LANES * self.key_words()
    }

    fn head_lines(&self) -> usize {
        self.key_lines() + self.value_panels() * self.precision.words(PAGE_TOKENS)
    }
}
