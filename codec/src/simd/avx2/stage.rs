//! Elements on their way to a plane: a row of tokens in several blocks, written at once.

use std::arch::x86_64::*;

use super::bf16::{Line, store_line};
use super::lanes::load;
use crate::plane::PlaneShape;
use crate::tile::rans::LANES;

/// Blocks of a stage: with 32 tokens of each it stays in the nearest cache.
pub(in crate::simd) const BLOCKS: usize = 8;
/// Bytes of a line: 32 elements of 16 bits, and a line of the caches.
const LINE_BYTES: usize = 64;
/// Planes of at least as many bytes are written around the caches: what is written is not needed again soon.
const STREAMED_BYTES: usize = 256 << 10;

/// Lines of 32 tokens in up to [`BLOCKS`] blocks.
///
/// Stores around the caches have to follow each other: loads between them make the processor write half lines to memory,
/// which takes three times as long (measured on Zen 3).
#[repr(align(64))]
pub(in crate::simd) struct Stage {
    lines: [[[u8; LINE_BYTES]; BLOCKS]; LANES],
    /// Where the line of the first token of each block lies in the plane.
    starts: [usize; BLOCKS],
    num_blocks: usize,
}

impl Stage {
    pub(in crate::simd) fn new() -> Self {
        Self { lines: [[[0; LINE_BYTES]; BLOCKS]; LANES], starts: [0; BLOCKS], num_blocks: 0 }
    }

    /// Adds a block, whose first token's line lies at `start`, and gives its number. There are fewer than [`BLOCKS`].
    #[inline]
    pub(in crate::simd) fn add(&mut self, start: usize) -> usize {
        let block = self.num_blocks;
        self.starts[block] = start;
        self.num_blocks += 1;
        block
    }

    /// Where the line of a token goes.
    #[inline]
    pub(in crate::simd) fn line_mut(&mut self, token: usize, block: usize) -> &mut [u8; LINE_BYTES] {
        &mut self.lines[token][block]
    }

    /// Puts the line of a token.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn put(&mut self, token: usize, block: usize, line: Line) {
        store_line(&mut self.lines[token][block], line);
    }

    /// Writes all lines to their plane, and leaves no blocks.
    #[target_feature(enable = "avx2")]
    pub(in crate::simd) fn write(&mut self, shape: &PlaneShape, plane: &mut [u8]) {
        let stride = shape.token_bytes();
        let starts = &self.starts[..std::mem::take(&mut self.num_blocks)];
        let aligned = |place: usize| place.is_multiple_of(LINE_BYTES);
        let all_aligned =
            aligned(plane.as_ptr().addr()) && aligned(stride) && starts.iter().all(|&start| aligned(start));
        if plane.len() >= STREAMED_BYTES && all_aligned {
            let end = starts.iter().max().map_or(0, |start| start + (LANES - 1) * stride + LINE_BYTES);
            assert!(end <= plane.len());
            for (token, lines) in self.lines.iter().enumerate() {
                for (&start, line) in starts.iter().zip(lines) {
                    // SAFETY: the line is within the plane, as was checked for the last of them, and aligned.
                    unsafe { stream(line, plane.as_mut_ptr().add(start + token * stride)) };
                }
            }
            _mm_sfence();
        } else {
            for (token, lines) in self.lines.iter().enumerate() {
                for (&start, line) in starts.iter().zip(lines) {
                    plane[start + token * stride..][..LINE_BYTES].copy_from_slice(line);
                }
            }
        }
    }
}

/// Writes a line around the caches.
///
/// # Safety
/// `to` is 64 writable bytes, aligned to as many, and nothing looks at them before a fence.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn stream(line: &[u8; LINE_BYTES], to: *mut u8) {
    let (first, second) = line.split_first_chunk().expect("64 bytes");
    let second = second.first_chunk().expect("32 bytes");
    // SAFETY: the caller's.
    unsafe {
        _mm256_stream_si256(to.cast(), load(first));
        _mm256_stream_si256(to.add(32).cast(), load(second));
    }
}

/// Writes a head's elements of consecutive tokens around the caches, where plane and lines are such that this pays, and says
/// whether it has.
pub(in crate::simd) fn stream_lines(
    lines: &[u8],
    shape: &PlaneShape,
    head: usize,
    first_token: usize,
    plane: &mut [u8],
) -> bool {
    let (stride, head_bytes) = (shape.token_bytes(), shape.head_bytes());
    let aligned = |place: usize| place.is_multiple_of(LINE_BYTES);
    let worthwhile = plane.len() >= STREAMED_BYTES && aligned(plane.as_ptr().addr());
    if !(worthwhile && aligned(stride) && aligned(head_bytes)) {
        return false;
    }
    let start = first_token * stride + head * head_bytes;
    let num_tokens = lines.len() / head_bytes;
    assert!(num_tokens == 0 || start + (num_tokens - 1) * stride + head_bytes <= plane.len());
    for (token, line) in lines.chunks_exact(head_bytes).enumerate() {
        for (part, line) in line.as_chunks().0.iter().enumerate() {
            // SAFETY: the line is within the plane, as was checked for the last of them, and aligned; the caller holds an
            // `Isa` of AVX2.
            unsafe { stream(line, plane.as_mut_ptr().add(start + token * stride + part * LINE_BYTES)) };
        }
    }
    // SAFETY: the caller holds an `Isa` of AVX2.
    unsafe { _mm_sfence() };
    true
}
