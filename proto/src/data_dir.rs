//! Where a depot keeps what clients on the same machine look for.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Unix socket of the control plane, inside the data directory.
pub const SOCKET: &str = "kvdepot.sock";
/// Unix socket of the local plane, inside the data directory.
pub const LOCAL_SOCKET: &str = "fetch.sock";
/// Certificate of both planes in PEM, inside the data directory.
pub const CERTIFICATE: &str = "tls/cert.pem";
/// [`Endpoints`] as JSON, inside the data directory; written when the daemon is ready.
pub const ENDPOINTS: &str = "endpoints.json";

/// Where a running daemon listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoints {
    /// Control plane over TLS, as an address and port.
    pub grpc: String,
    /// Data plane, as an address and port.
    pub quic: String,
    /// Path of the Unix socket.
    pub socket: PathBuf,
    /// Path of the certificate.
    pub ca: PathBuf,
    /// Process id of the daemon.
    pub pid: u32,
}

/// The data directory of daemons and clients that name none: `kvdepot` in `$XDG_DATA_HOME`, or in `~/.local/share`.
/// `None` without either variable in the environment.
pub fn default_data_dir() -> Option<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute("XDG_DATA_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/share")))?;
    Some(base.join("kvdepot"))
}
