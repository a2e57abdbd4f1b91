//! What can go wrong in the codec, and what the caller should do about it.

/// Result of the codec's operations.
pub type Result<T> = std::result::Result<T, Error>;

/// What the caller should do about an [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// Fix the call.
    Invalid,
    /// Upgrade, or encode again: the bytes are sound but of a version, level or shape this build does not take.
    Incompatible,
    /// Evict, then prefill: the bytes are not what the encoder wrote.
    Corrupt,
}

/// An error of the codec.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The call asks for something that cannot be.
    #[error("{0}")]
    Invalid(String),
    /// The bytes are sound, but not for this reader.
    #[error("{0}")]
    Incompatible(String),
    /// The bytes are not what an encoder wrote.
    #[error("corrupt at byte {offset}: {reason}")]
    Corrupt {
        /// Where the contradiction was seen, from the start of the bytes handed in.
        offset: usize,
        /// What contradicts what, with the values.
        reason: String,
    },
}

impl Error {
    /// A contradiction seen at `offset`.
    pub(crate) fn corrupt(offset: usize, reason: impl Into<String>) -> Self {
        Self::Corrupt { offset, reason: reason.into() }
    }

    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Invalid(_) => ErrorKind::Invalid,
            Self::Incompatible(_) => ErrorKind::Incompatible,
            Self::Corrupt { .. } => ErrorKind::Corrupt,
        }
    }
}

impl From<Error> for std::io::Error {
    fn from(error: Error) -> Self {
        let kind = match error.kind() {
            ErrorKind::Invalid => std::io::ErrorKind::InvalidInput,
            ErrorKind::Incompatible | ErrorKind::Corrupt => std::io::ErrorKind::InvalidData,
        };
        Self::new(kind, error)
    }
}
