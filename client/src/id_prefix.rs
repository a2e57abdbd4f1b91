//! The leading hexadecimal digits of a chunk id, as people type them.

use kvdepot_proto::{ChunkId, v1};

use crate::{Error, Result};

/// The leading hexadecimal digits of a chunk id, 4 to 64 of them, odd numbers too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdPrefix {
    nibbles: Vec<u8>,
}

impl IdPrefix {
    /// Fewest digits.
    pub const MIN_DIGITS: usize = 4;
}

impl std::str::FromStr for IdPrefix {
    type Err = Error;

    fn from_str(digits: &str) -> Result<Self> {
        let nibbles: Option<Vec<u8>> =
            digits.chars().map(|digit| digit.to_digit(16).and_then(|value| u8::try_from(value).ok())).collect();
        nibbles
            .filter(|nibbles| (Self::MIN_DIGITS..=64).contains(&nibbles.len()))
            .map(|nibbles| Self { nibbles })
            .ok_or_else(|| {
                Error::invalid(format!("chunk id {digits:?} is not {} to 64 hexadecimal digits", Self::MIN_DIGITS))
            })
    }
}

impl std::fmt::Display for IdPrefix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.nibbles.iter().try_for_each(|nibble| write!(f, "{nibble:x}"))
    }
}

impl From<ChunkId> for IdPrefix {
    fn from(id: ChunkId) -> Self {
        Self { nibbles: id.as_bytes().iter().flat_map(|byte| [byte >> 4, byte & 15]).collect() }
    }
}

impl From<&IdPrefix> for v1::InspectRequest {
    fn from(prefix: &IdPrefix) -> Self {
        let (pairs, odd) = prefix.nibbles.as_chunks::<2>();
        Self {
            id_prefix: pairs.iter().map(|[high, low]| high << 4 | low).collect(),
            id_nibble: odd.first().map(|nibble| u32::from(*nibble)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_and_even_prefixes_become_bytes_and_a_nibble() {
        for (digits, bytes, nibble) in [("0aF3", vec![0x0a, 0xf3], None), ("0af3c", vec![0x0a, 0xf3], Some(0xc))] {
            let prefix: IdPrefix = digits.parse().unwrap();
            let request = v1::InspectRequest::from(&prefix);
            assert_eq!((request.id_prefix, request.id_nibble), (bytes, nibble));
            assert_eq!(prefix.to_string(), digits.to_lowercase());
        }
    }

    #[test]
    fn what_is_not_a_prefix_is_refused_with_its_text() {
        for text in ["", "abc", "xyz0", "+abc", &"0".repeat(65)] {
            let error = text.parse::<IdPrefix>().unwrap_err().to_string();
            assert!(error.contains(&format!("{text:?}")), "{error}");
        }
    }
}
