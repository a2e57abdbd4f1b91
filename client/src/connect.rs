//! Where a depot is, and how to reach it.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use kvdepot_proto::{data_dir, limits};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

use crate::{Error, ErrorKind, Result};

/// Where a depot is, and how to reach it.
#[derive(Debug, Clone)]
pub struct ConnectOptions {
    /// `unix:/path/kvdepot.sock`, or `https://host:port`.
    pub url: String,
    /// Certificate to trust, in PEM; needed with `https`.
    pub ca: Option<PathBuf>,
    /// Longest wait for any single answer or step. A transfer may take longer as a whole, but never stand still longer.
    pub timeout: Duration,
    /// How long a transfer that broke is tried again; zero for never. A try that has begun may take longer.
    pub resume_within: Duration,
    /// How KV travels.
    pub transport: TransportChoice,
    /// Where the data plane is reached, if not where the depot says that it listens: behind a forwarder of UDP.
    pub quic_address: Option<SocketAddr>,
}

/// How KV travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TransportChoice {
    /// The local plane for fetches from a depot on this host; QUIC; or gRPC when QUIC does not get through.
    #[default]
    Auto,
    /// The local plane for fetches, or an error; puts as with [`Self::Auto`].
    Local,
    /// QUIC or an error.
    Quic,
    /// gRPC.
    Grpc,
}

impl ConnectOptions {
    /// The default of [`Self::timeout`].
    pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
    /// The default of [`Self::resume_within`]: a daemon that is restarted is back by then.
    pub const DEFAULT_RESUME_WITHIN: Duration = Duration::from_secs(10);

    /// Options for the depot at `url`, everything else by default.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            ca: None,
            timeout: Self::DEFAULT_TIMEOUT,
            resume_within: Self::DEFAULT_RESUME_WITHIN,
            transport: TransportChoice::default(),
            quic_address: None,
        }
    }

    /// Options for the depot whose data directory on this machine is `dir`.
    pub fn in_data_dir(dir: &Path) -> Self {
        Self::new(format!("unix:{}", dir.join(data_dir::SOCKET).display()))
    }
}

/// A depot's URL, parsed.
pub(crate) enum Address {
    Socket(PathBuf),
    Tls(String),
}

impl Address {
    pub(crate) fn parse(url: &str) -> Result<Self> {
        if let Some(path) = url.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return Ok(Self::Socket(path.into()));
        }
        if url.starts_with("https://") {
            return Ok(Self::Tls(url.to_owned()));
        }
        let reason = match url.starts_with("http://") {
            true => "a depot takes plaintext on its Unix socket only",
            false => "it has no known scheme",
        };
        Err(Error::invalid(format!(
            "depot url {url:?} is not usable, {reason}: write unix:/path/kvdepot.sock or https://host:port"
        )))
    }

    /// Host of the URL; none for a socket.
    pub(crate) fn host(&self) -> Option<String> {
        match self {
            Self::Socket(_) => None,
            Self::Tls(url) => Endpoint::from_shared(url.clone()).ok()?.uri().host().map(ToOwned::to_owned),
        }
    }
}

/// Connects the control plane.
pub(crate) async fn channel(options: &ConnectOptions) -> Result<Channel> {
    let endpoint = endpoint(options)?
        .connect_timeout(options.timeout)
        .initial_stream_window_size(Some(STREAM_WINDOW_BYTES))
        .initial_connection_window_size(Some(CONNECTION_WINDOW_BYTES))
        .http2_keep_alive_interval(options.timeout);
    match tokio::time::timeout(options.timeout, endpoint.connect()).await {
        Ok(connected) => connected.map_err(|error| unreachable(&options.url, &root_cause(&error))),
        Err(_) => Err(unreachable(&options.url, &format!("no answer within {:?}", options.timeout))),
    }
}

const STREAM_WINDOW_BYTES: u32 = 16 * limits::PIECE_BYTES as u32;
const CONNECTION_WINDOW_BYTES: u32 = 2 * STREAM_WINDOW_BYTES;

fn endpoint(options: &ConnectOptions) -> Result<Endpoint> {
    let unusable = |error: tonic::transport::Error| {
        Error::invalid(format!("depot url {:?} is not usable: {}", options.url, root_cause(&error)))
    };
    match Address::parse(&options.url)? {
        Address::Socket(path) => Endpoint::from_shared(format!("unix:{}", path.display())).map_err(unusable),
        Address::Tls(url) => {
            let roots = Certificate::from_pem(read_ca(options)?);
            let tls = ClientTlsConfig::new().ca_certificate(roots);
            Endpoint::from_shared(url).and_then(|endpoint| endpoint.tls_config(tls)).map_err(unusable)
        }
    }
}

fn read_ca(options: &ConnectOptions) -> Result<Vec<u8>> {
    let url = &options.url;
    let Some(path) = &options.ca else {
        let hint = format!("the daemon writes its own to {} in its data directory", data_dir::CERTIFICATE);
        return Err(Error::invalid(format!("{url} needs a certificate to trust: pass --ca FILE; {hint}")));
    };
    std::fs::read(path).map_err(|error| {
        Error::invalid(format!("cannot read the certificate {} to trust for {url}: {error}", path.display()))
    })
}

/// The error of a depot that cannot be reached.
pub(crate) fn unreachable(url: &str, reason: &str) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        format!("cannot reach the depot at {url}: {reason}; is kvdepotd running? start it, or pass --depot URL"),
    )
}

/// The innermost message: the outer ones of the transport say only that it failed.
pub(crate) fn root_cause(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
