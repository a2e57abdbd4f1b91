//! RoPE in segments: kind, theta and first position in the header, what scaling needs in the preamble.
#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::cast_possible_truncation)
)]

use crate::cursor::Cursor;
use crate::rope::{Position, Rope, RopeScaling};
use crate::{Error, Result};

/// Keys are coded as they are, after RoPE.
pub(super) const ROPE_UNUSED: u8 = 0;
const ROPE_DEFAULT: u8 = 1;
const ROPE_LLAMA3: u8 = 2;

/// The fields of the header of a segment whose keys were turned back.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct RopeFields {
    kind: u8,
    theta: f64,
    first_position: u64,
}

impl RopeFields {
    pub(super) fn new(position: &Position) -> Self {
        let kind = match position.rope.scaling {
            RopeScaling::None => ROPE_DEFAULT,
            RopeScaling::Llama3 { .. } => ROPE_LLAMA3,
        };
        Self { kind, theta: position.rope.theta, first_position: position.first_position }
    }

    /// Reads the fields' values, of which `kind` comes earlier in a header.
    pub(super) fn parse(kind: u8, fields: &mut Cursor<'_>) -> Result<Option<Self>> {
        let (theta, first_position) = (fields.f64("RoPE theta")?, fields.u64("first position")?);
        match kind {
            ROPE_UNUSED if theta.to_bits() == 0 && first_position == 0 => Ok(None),
            ROPE_DEFAULT | ROPE_LLAMA3 => {
                Rope::plain(theta).check().map_err(|error| fields.corrupt(error.to_string()))?;
                Ok(Some(Self { kind, theta, first_position }))
            }
            ROPE_UNUSED => Err(fields.corrupt(format!("unused RoPE fields are {theta}, {first_position}"))),
            kind => Err(Error::Incompatible(format!("RoPE kind {kind} is not known to this build"))),
        }
    }

    /// Kind, theta and first position.
    pub(super) fn to_bytes(fields: Option<&Self>) -> (u8, [u8; 16]) {
        let Some(Self { kind, theta, first_position }) = fields else { return (ROPE_UNUSED, [0; 16]) };
        let mut bytes = [0; 16];
        let (low, high) = bytes.split_at_mut(8);
        low.copy_from_slice(&theta.to_le_bytes());
        high.copy_from_slice(&first_position.to_le_bytes());
        (*kind, bytes)
    }

    /// What scaling needs besides, at the front of the preamble of a base.
    pub(super) fn write_scaling(position: &Position, preamble: &mut Vec<u8>) {
        if let RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } =
            position.rope.scaling
        {
            for number in [factor, low_freq_factor, high_freq_factor, original_context] {
                preamble.extend_from_slice(&number.to_le_bytes());
            }
        }
    }

    /// RoPE and position, with what the preamble says of scaling.
    pub(super) fn read(&self, preamble: &mut Cursor<'_>) -> Result<Position> {
        let scaling = match self.kind {
            ROPE_LLAMA3 => {
                let mut number = || preamble.f64("a parameter of RoPE scaling");
                RopeScaling::Llama3 {
                    factor: number()?,
                    low_freq_factor: number()?,
                    high_freq_factor: number()?,
                    original_context: number()?,
                }
            }
            _ => RopeScaling::None,
        };
        let rope = Rope { theta: self.theta, scaling };
        rope.check().map_err(|error| preamble.corrupt(error.to_string()))?;
        Ok(Position { rope, first_position: self.first_position })
    }
}

/// Most bytes that [`RopeFields::write_scaling`] adds.
pub(crate) const SCALING_BYTES: usize = 32;
