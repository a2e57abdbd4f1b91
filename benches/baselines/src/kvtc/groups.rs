//! Runs of components that share a type: their bytes and their error.

use half::{bf16, f16};
use kvdepot_codec::Result;
use nalgebra::DMatrix;

use crate::reader::{Reader, u16s};

/// Bits of a run's shift and scale, per token.
const SHIFT_AND_SCALE_BITS: usize = 32;

/// How the components of a run are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Each as it is, in 16 bits.
    Bf16,
    /// As integers of 2, 4 or 8 bits between the least and the greatest of the run.
    Int {
        /// Bits of an integer.
        bits: u32,
    },
}

impl Kind {
    pub(super) const ALL: [Self; 4] = [Self::Bf16, Self::Int { bits: 8 }, Self::Int { bits: 4 }, Self::Int { bits: 2 }];

    /// Sizes that a run of this kind may have: shift and scale pay only where several share them.
    pub(super) const fn sizes(self) -> &'static [usize] {
        match self {
            Self::Bf16 => &[1],
            Self::Int { .. } => &[16, 64, 256, 1024],
        }
    }

    /// Bits that a run of `size` components takes per token.
    pub(super) const fn bits(self, size: usize) -> usize {
        match self {
            Self::Bf16 => 16 * size,
            Self::Int { bits } => bits as usize * size + SHIFT_AND_SCALE_BITS,
        }
    }

    /// Sum of squared errors that storing the values gives.
    pub(super) fn error(self, values: &[f32]) -> f32 {
        let square = |value: f32, decoded: f32| (value - decoded) * (value - decoded);
        match self {
            Self::Bf16 => values.iter().map(|&value| square(value, bf16::from_f32(value).to_f32())).sum(),
            Self::Int { bits } => {
                let range = Range::of(values, bits);
                values.iter().map(|&value| square(value, range.value(range.code(value)))).sum()
            }
        }
    }
}

/// What integers are mapped to.
struct Range {
    shift: f16,
    scale: f16,
    max_code: f32,
}

impl Range {
    fn of(values: &[f32], bits: u32) -> Self {
        let (least, greatest) = values.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(least, greatest), &value| {
            (least.min(value), greatest.max(value))
        });
        let max_code = ((1u32 << bits) - 1) as f32;
        let finite = |value: f32| f16::from_f32(value.clamp(-65504.0, 65504.0));
        Self { shift: finite(least), scale: finite((greatest - least) / max_code), max_code }
    }

    fn code(&self, value: f32) -> u8 {
        let scaled = (value - self.shift.to_f32()) / self.scale.to_f32();
        if scaled.is_finite() { scaled.round().clamp(0.0, self.max_code) as u8 } else { 0 }
    }

    fn value(&self, code: u8) -> f32 {
        f32::from(code) * self.scale.to_f32() + self.shift.to_f32()
    }
}

/// A run of components of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) start: usize,
    pub(super) size: usize,
    pub(super) kind: Kind,
}

impl Group {
    /// The component after the last.
    pub(super) fn end(&self) -> usize {
        self.start + self.size
    }

    /// Bytes before deflation; sizes are such that a token's bits fill them.
    pub(super) fn encoded_bytes(&self, num_tokens: usize) -> usize {
        self.kind.bits(self.size) / 8 * num_tokens
    }

    /// Components of this run of one token.
    fn values(&self, components: &DMatrix<f32>, token: usize) -> Vec<f32> {
        (self.start..self.end()).map(|component| components[(token, component)]).collect()
    }

    /// Adds the run of every token: shifts, scales, then codes.
    pub(super) fn encode(&self, components: &DMatrix<f32>, bytes: &mut Vec<u8>) {
        let tokens = (0..components.nrows()).map(|token| self.values(components, token));
        let Kind::Int { bits } = self.kind else {
            tokens.flatten().for_each(|value| bytes.extend_from_slice(&bf16::from_f32(value).to_le_bytes()));
            return;
        };
        let (mut scales, mut codes) = (Vec::new(), Vec::new());
        for values in tokens {
            let range = Range::of(&values, bits);
            bytes.extend_from_slice(&range.shift.to_le_bytes());
            scales.extend_from_slice(&range.scale.to_le_bytes());
            pack(values.iter().map(|value| range.code(*value)), bits, &mut codes);
        }
        bytes.append(&mut scales);
        bytes.append(&mut codes);
    }

    pub(super) fn decode(&self, reader: &mut Reader<'_>, components: &mut DMatrix<f32>) -> Result<()> {
        let num_tokens = components.nrows();
        let Kind::Int { bits } = self.kind else {
            let stored = u16s(reader.take(self.encoded_bytes(num_tokens), "components")?);
            for (idx, stored) in stored.enumerate() {
                components[(idx / self.size, self.start + idx % self.size)] = bf16::from_bits(stored).to_f32();
            }
            return Ok(());
        };
        let mut halves = || Ok(u16s(reader.take(2 * num_tokens, "shifts and scales")?).map(f16::from_bits));
        let (shifts, scales) = (halves()?, halves()?);
        let token_bytes = self.size * bits as usize / 8;
        let codes = reader.take(token_bytes * num_tokens, "components")?.chunks_exact(token_bytes);
        for (token, ((shift, scale), codes)) in shifts.zip(scales).zip(codes).enumerate() {
            let range = Range { shift, scale, max_code: 0.0 };
            for (component, code) in (self.start..self.end()).zip(unpack(codes, bits)) {
                components[(token, component)] = range.value(code);
            }
        }
        Ok(())
    }
}

/// Codes of 2, 4 or 8 bits into whole bytes, from the low bits on.
fn pack(codes: impl Iterator<Item = u8>, bits: u32, bytes: &mut Vec<u8>) {
    let (mut partial, mut num_bits) = (0, 0);
    for code in codes {
        partial |= code << num_bits;
        num_bits += bits;
        if num_bits == 8 {
            bytes.push(partial);
            (partial, num_bits) = (0, 0);
        }
    }
}

fn unpack(bytes: &[u8], bits: u32) -> impl Iterator<Item = u8> {
    let mask = u8::MAX >> (8 - bits);
    bytes.iter().flat_map(move |byte| (0..8 / bits).map(move |idx| byte >> (idx * bits) & mask))
}
