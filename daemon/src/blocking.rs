//! The bridge from async servers to the depot, which blocks.

use kvdepot_proto::{Error, ErrorKind, Result};
use tokio::task::JoinError;

/// Runs `work` where it may block.
///
/// # Cancel safety
/// Dropping the future does not stop the work.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    flatten(tokio::task::spawn_blocking(work).await)
}

/// A task that panicked is an internal error.
pub(crate) fn flatten<T>(joined: std::result::Result<Result<T>, JoinError>) -> Result<T> {
    joined.unwrap_or_else(|error| Err(Error::new(ErrorKind::Internal, format!("a task ended early: {error}"))))
}
