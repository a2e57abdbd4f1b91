//! The Unix socket of a data directory.

use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use kvdepot_proto::{Error, ErrorKind, Result};
use tokio::net::UnixListener;

/// A bound socket; its file goes when this is dropped.
pub(crate) struct UnixSocket {
    path: PathBuf,
}

impl UnixSocket {
    /// Binds the socket for its owner only. A file that nobody listens behind is replaced.
    ///
    /// # Errors
    /// `Unavailable` when somebody listens there, or the system refuses; a path may have about 100 bytes.
    pub(crate) fn bind(path: &Path) -> Result<(Self, UnixListener)> {
        let failed = |error: std::io::Error| unavailable(path, &error.to_string());
        if UnixStream::connect(path).is_ok() {
            return Err(unavailable(path, "another daemon listens there"));
        }
        if fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket()) {
            fs::remove_file(path).map_err(failed)?;
        }
        let listener = UnixListener::bind(path).map_err(failed)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(failed)?;
        Ok((Self { path: path.to_owned() }, listener))
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove the socket");
        }
    }
}

fn unavailable(path: &Path, reason: &str) -> Error {
    Error::new(ErrorKind::Unavailable, format!("socket {}: {reason}", path.display()))
}
