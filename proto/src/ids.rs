//! 32-byte ids.

use crate::{Error, Result};

macro_rules! digest_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 32]);

        impl $name {
            /// Takes the bytes of an id.
            pub const fn new(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// Takes the bytes of an id from a message.
            ///
            /// # Errors
            /// `Invalid` unless there are exactly 32.
            pub fn from_slice(bytes: &[u8]) -> Result<Self> {
                let bytes = bytes
                    .try_into()
                    .map_err(|_| Error::invalid(format!(concat!($what, " of {} bytes, expected 32"), bytes.len())))?;
                Ok(Self(bytes))
            }

            /// The bytes of the id.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl From<$name> for Vec<u8> {
            fn from(id: $name) -> Self {
                id.0.to_vec()
            }
        }
    };
}

digest_id! {
    /// Name of a chunk: a keyed hash of its namespace, its parent and its tokens.
    ChunkId, "chunk id"
}

digest_id! {
    /// Digest of a [`KvSpec`](crate::KvSpec).
    Fingerprint, "fingerprint"
}
