//! Digests as lower-case hexadecimal digits.

use crate::{Error, Result};

/// Two digits per byte.
pub(crate) fn encode(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The 32 bytes that 64 digits stand for; `what` names them in errors.
pub(crate) fn decode_digest(what: &str, digits: &str) -> Result<[u8; 32]> {
    let malformed = || Error::invalid(format!("{what} {digits:?} is not 64 hexadecimal digits"));
    if digits.len() != 64 {
        return Err(malformed());
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
        let mut nibbles = pair.iter().map(|digit| char::from(*digit).to_digit(16));
        let value = nibbles.try_fold(0u32, |sum, digit| Some(sum << 4 | digit?));
        *byte = value.and_then(|value| u8::try_from(value).ok()).ok_or_else(malformed)?;
    }
    Ok(bytes)
}
