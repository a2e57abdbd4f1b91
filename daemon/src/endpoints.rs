//! Where a running daemon is to be found: a file in its data directory, while it serves.

use std::fs;
use std::path::{Path, PathBuf};

use kvdepot_proto::data_dir::{ENDPOINTS, Endpoints};
use kvdepot_proto::{Error, ErrorKind, Result};

/// The file; it goes when this is dropped.
pub(crate) struct EndpointsFile {
    path: PathBuf,
}

impl EndpointsFile {
    /// Writes the file, whole or not at all.
    ///
    /// # Errors
    /// `Unavailable` when the system refuses.
    pub(crate) fn write(data_dir: &Path, endpoints: &Endpoints) -> Result<Self> {
        let path = data_dir.join(ENDPOINTS);
        let unfinished = path.with_extension("json.new");
        let write = || {
            fs::write(&unfinished, serde_json::to_vec_pretty(endpoints)?)?;
            fs::rename(&unfinished, &path)
        };
        write().map_err(|error| Error::new(ErrorKind::Unavailable, format!("{}: {error}", path.display())))?;
        Ok(Self { path })
    }
}

impl Drop for EndpointsFile {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove the file of endpoints");
        }
    }
}
