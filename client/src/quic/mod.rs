//! The QUIC data plane: quinn and nothing else stays in here.

mod config;
mod fetch;
mod frames;
mod pin;
mod put;

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use crate::{Error, ErrorKind, Result, control::within};

/// A connection, with a socket of its own. It carries one transfer at a time.
pub(crate) struct Connection {
    endpoint: quinn::Endpoint,
    connection: quinn::Connection,
    next_transfer_id: AtomicU64,
    opened: Instant,
    timeout: Duration,
}

/// Seeds the random numbers of TLS on a thread of its own: it takes 50 to 90 ms once per process (AWS-LC gathers
/// jitter), which the first handshake would wait for otherwise.
pub(crate) fn warm_up() {
    std::thread::spawn(|| rustls::crypto::aws_lc_rs::default_provider().secure_random.fill(&mut [0; 16]));
}

impl Connection {
    /// Dials `address`, which has to show exactly `certificate`.
    pub(crate) async fn open(
        address: SocketAddr,
        certificate: &[u8],
        handshake_timeout: Duration,
        timeout: Duration,
    ) -> Result<Self> {
        let failed = |reason: String| {
            let hint = "UDP may be closed between here and the depot";
            Error::new(ErrorKind::Unavailable, format!("cannot reach the data plane at {address}: {reason}; {hint}"))
        };
        let endpoint = config::endpoint(address).map_err(|error| failed(error.to_string()))?;
        let config = config::client(address, certificate)?;
        let connecting =
            endpoint.connect_with(config, address, config::SERVER_NAME).map_err(|error| failed(error.to_string()))?;
        let handshake = async { connecting.await.map_err(|error| failed(error.to_string())) };
        let connection = within(handshake_timeout, "the QUIC handshake", handshake).await?;
        Ok(Self { endpoint, connection, next_transfer_id: AtomicU64::new(1), opened: Instant::now(), timeout })
    }

    /// A number that names a transfer on this connection.
    pub(crate) fn next_transfer_id(&self) -> u64 {
        self.next_transfer_id.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn is_open(&self) -> bool {
        self.connection.close_reason().is_none()
    }

    /// Datagrams received so far.
    pub(crate) fn received_datagrams(&self) -> u64 {
        self.connection.stats().udp_rx.datagrams
    }

    /// How long it had been open at `now`.
    pub(crate) fn age_at(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.opened)
    }

    /// Ends the connection and waits, a moment at most, until the depot knows.
    pub(crate) async fn close(self) {
        self.connection.close(0u8.into(), b"done");
        let _ = tokio::time::timeout(Duration::from_secs(1), self.endpoint.wait_idle()).await;
    }

    async fn within<T>(&self, what: &str, step: impl Future<Output = Result<T>>) -> Result<T> {
        within(self.timeout, what, step).await
    }
}

/// The error of a connection or stream that broke.
fn broken(error: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Unavailable, format!("the QUIC transfer broke: {error}; try again"))
}
