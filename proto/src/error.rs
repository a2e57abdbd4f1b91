//! Errors as both planes carry them: a kind that says what the caller should do, and a message with the values.

use tonic::{Code, Status};

/// Result of this crate's operations.
pub type Result<T> = std::result::Result<T, Error>;

/// What the caller should do about an [`Error`]. The discriminants are part of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum ErrorKind {
    /// Prefill it: what was asked for is not stored.
    NotFound = 1,
    /// Fix the call.
    Invalid = 2,
    /// Upgrade or encode again: both sides are sound but do not fit.
    Incompatible = 3,
    /// Evict, then prefill: stored or received bytes are not what was written.
    Corrupt = 4,
    /// Show a credential that may.
    Denied = 5,
    /// Back off: a quota or a limit is reached.
    Busy = 6,
    /// Retry, or elsewhere.
    Unavailable = 7,
    /// Report a bug.
    Internal = 8,
}

impl ErrorKind {
    const ALL: [(Self, Code); 8] = [
        (Self::NotFound, Code::NotFound),
        (Self::Invalid, Code::InvalidArgument),
        (Self::Incompatible, Code::FailedPrecondition),
        (Self::Corrupt, Code::DataLoss),
        (Self::Denied, Code::PermissionDenied),
        (Self::Busy, Code::ResourceExhausted),
        (Self::Unavailable, Code::Unavailable),
        (Self::Internal, Code::Internal),
    ];

    /// The kind whose discriminant is `code`; unknown codes of a newer peer are `Internal`.
    pub fn from_code(code: u32) -> Self {
        Self::ALL.into_iter().map(|(kind, _)| kind).find(|kind| *kind as u32 == code).unwrap_or(Self::Internal)
    }

    /// The name in the JSON of the programs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::Invalid => "invalid",
            Self::Incompatible => "incompatible",
            Self::Corrupt => "corrupt",
            Self::Denied => "denied",
            Self::Busy => "busy",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal",
        }
    }

    /// The exit code of the programs: 0 is success, 1 any other error.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Internal => 1,
            Self::Invalid => 2,
            Self::NotFound => 3,
            Self::Incompatible => 4,
            Self::Corrupt => 5,
            Self::Denied => 6,
            Self::Busy => 7,
            Self::Unavailable => 8,
        }
    }

    /// The gRPC status code of the kind.
    pub fn grpc_code(self) -> Code {
        Self::ALL.into_iter().find(|(kind, _)| *kind == self).map_or(Code::Internal, |(_, code)| code)
    }

    fn from_grpc(code: Code) -> Self {
        match code {
            Code::Unauthenticated => Self::Denied,
            Code::DeadlineExceeded | Code::Cancelled => Self::Unavailable,
            Code::OutOfRange => Self::Invalid,
            _ => Self::ALL.into_iter().find(|(_, known)| *known == code).map_or(Self::Internal, |(kind, _)| kind),
        }
    }
}

/// An error that either side of the protocol may report.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    kind: ErrorKind,
    message: String,
}

impl Error {
    /// An error of `kind`; `message` is lower case, without a full stop, with the values in it.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// The caller should fix the call.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// The same kind, with `what` was being done in front of the message.
    #[must_use]
    pub fn context(self, what: impl std::fmt::Display) -> Self {
        Self { message: format!("{what}: {}", self.message), ..self }
    }

    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl From<kvdepot_codec::Error> for Error {
    fn from(error: kvdepot_codec::Error) -> Self {
        let kind = match error.kind() {
            kvdepot_codec::ErrorKind::Invalid => ErrorKind::Invalid,
            kvdepot_codec::ErrorKind::Incompatible => ErrorKind::Incompatible,
            kvdepot_codec::ErrorKind::Corrupt => ErrorKind::Corrupt,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        Self::new(error.kind.grpc_code(), error.message)
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        Self::new(ErrorKind::from_grpc(status.code()), status.message())
    }
}
