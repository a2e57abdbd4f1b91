//! Points on the quality ladder.

use crate::{Error, Result};

/// Point on the quality ladder, from lossless to smallest.
///
/// Only the levels that this build encodes and decodes are listed; others are `Incompatible`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Level {
    /// Lossless: the decoded bits are the bits that were put.
    Q0 = 0,
    /// CacheGen's quantizer as LMCache ships it, bit for bit, under our entropy coder.
    Q2 = 2,
}

impl Level {
    /// Every level of this build, best quality first.
    pub const ALL: [Self; 2] = [Self::Q0, Self::Q2];

    /// The lower-case name, such as `q0`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Q0 => "q0",
            Self::Q2 => "q2",
        }
    }

    /// Whether decoding gives back exactly the bits that were encoded.
    pub const fn is_lossless(self) -> bool {
        matches!(self, Self::Q0)
    }

    /// The level whose discriminant is `code`, if this build has it.
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
