//! What can go wrong in the engine, and what the caller should do about it.

use std::path::{Path, PathBuf};

/// Result of the engine's operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What the caller should do about an [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// Point to where the file is.
    NotFound,
    /// Fix the call.
    Invalid,
    /// Use another model or build: the input is sound, but this build does not take it.
    Incompatible,
    /// Fetch or write the file again: its bytes contradict themselves.
    Corrupt,
    /// Ask for less, or raise the limit.
    Busy,
    /// Retry: the operating system refused.
    Unavailable,
}

/// An error of the engine.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file that must be there is not.
    #[error("{0}")]
    NotFound(String),
    /// The call asks for something that cannot be.
    #[error("{0}")]
    Invalid(String),
    /// The input is sound, but not for this build.
    #[error("{0}")]
    Incompatible(String),
    /// The input contradicts itself.
    #[error("{0}")]
    Corrupt(String),
    /// The KV pool has no room for the worst case of what was asked.
    #[error(
        "{needed_bytes} bytes of KV do not fit: {used_bytes} of the pool's {limit_bytes} are in use; raise the limit or ask for less"
    )]
    Busy {
        /// Bytes asked for.
        needed_bytes: usize,
        /// Bytes in use.
        used_bytes: usize,
        /// Limit of the pool.
        limit_bytes: usize,
    },
    /// The operating system refused to read or write a file.
    #[error("{}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl Error {
    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound(_) => ErrorKind::NotFound,
            Self::Invalid(_) => ErrorKind::Invalid,
            Self::Incompatible(_) => ErrorKind::Incompatible,
            Self::Corrupt(_) => ErrorKind::Corrupt,
            Self::Busy { .. } => ErrorKind::Busy,
            Self::Io { .. } => ErrorKind::Unavailable,
        }
    }

    /// Wraps an I/O error on `path`; a missing file is `NotFound`.
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |source| match source.kind() {
            std::io::ErrorKind::NotFound => Self::NotFound(format!("{} does not exist", path.display())),
            _ => Self::Io { path: path.to_owned(), source },
        }
    }
}

impl From<kvdepot_codec::Error> for Error {
    fn from(error: kvdepot_codec::Error) -> Self {
        match error.kind() {
            kvdepot_codec::ErrorKind::Invalid => Self::Invalid(error.to_string()),
            kvdepot_codec::ErrorKind::Incompatible => Self::Incompatible(error.to_string()),
            kvdepot_codec::ErrorKind::Corrupt => Self::Corrupt(error.to_string()),
        }
    }
}
