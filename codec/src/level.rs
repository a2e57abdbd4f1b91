//! Points on the quality ladder.

use crate::{Error, Result, Side};

/// Point on the quality ladder, from lossless to smallest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Level {
    /// Lossless: the decoded bits are the bits that were put.
    Q0 = 0,
    /// Near-lossless: every value within a bound that each segment states, see [`error_bound`](crate::error_bound).
    Q1 = 1,
    /// CacheGen's quantizer as LMCache ships it, bit for bit, under our entropy coder.
    Q2 = 2,
    /// Lossy and layered: keys with RoPE undone, a step for each channel, quality layers that refine each other.
    Q3 = 3,
}

impl Level {
    /// Every level, best quality first.
    pub const ALL: [Self; 4] = [Self::Q0, Self::Q1, Self::Q2, Self::Q3];
    /// Most quality layers of any level.
    pub const MAX_QUALITIES: u8 = 3;

    /// The lower-case name, such as `q0`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Q0 => "q0",
            Self::Q1 => "q1",
            Self::Q2 => "q2",
            Self::Q3 => "q3",
        }
    }

    /// Whether decoding gives back exactly the bits that were encoded.
    pub const fn is_lossless(self) -> bool {
        matches!(self, Self::Q0)
    }

    /// Quality layers of one side: the base, which decodes alone, and those that refine it in turn.
    ///
    /// Keys need more precision than values: an error of a key is in the exponent of a softmax (docs/decisions/0007).
    pub const fn qualities(self, side: Side) -> u8 {
        match (self, side) {
            (Self::Q3, Side::K) => 3,
            (Self::Q3, Side::V) => 2,
            _ => 1,
        }
    }

    /// Whether encoding needs to know the keys' RoPE and position.
    pub const fn needs_rope(self) -> bool {
        matches!(self, Self::Q1 | Self::Q3)
    }

    /// The level whose discriminant is `code`, if there is one.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|level| *level as u8 == code)
    }
}

impl std::fmt::Display for Level {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Level {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|level| level.name() == name).ok_or_else(|| {
            let known = Self::ALL.map(Self::name).join(", ");
            Error::Invalid(format!("unknown level {name:?}: this build has {known}"))
        })
    }
}
