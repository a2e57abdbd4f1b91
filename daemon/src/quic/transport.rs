//! The socket and quinn's settings.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use kvdepot_proto::transport::{Datagrams, IDLE_TIMEOUT, MAX_SEGMENT_STREAMS, SOCKET_BUFFER_BYTES, WINDOW_BYTES};
use kvdepot_proto::{ALPN, Error, ErrorKind, Result};
use quinn::congestion::CubicConfig;
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Endpoint, EndpointConfig, IdleTimeout, MtuDiscoveryConfig, ServerConfig, TransportConfig, VarInt};
use socket2::{Domain, Protocol, Socket, Type};

use crate::limits::Budget;
use crate::settings::QuicSettings;
use crate::tls::Certificate;

/// Requests that a connection may have open at once.
const MAX_REQUESTS: u32 = 16;

/// A bound endpoint that takes connections.
pub(crate) struct Transport {
    pub(super) endpoint: Endpoint,
    pub(super) max_connections: usize,
    pub(super) budget: Budget,
    crypto: Arc<QuicServerConfig>,
    max_datagram_bytes: u16,
}

impl Transport {
    /// Binds the socket and raises its buffers as far as the system lets.
    ///
    /// # Errors
    /// `Unavailable` when the system refuses the address, `Invalid` when the certificate does not fit its key.
    pub(crate) fn bind(listen: SocketAddr, certificate: &Certificate, settings: &QuicSettings) -> Result<Self> {
        let crypto = Arc::new(crypto(certificate)?);
        let failed =
            |error: std::io::Error| Error::new(ErrorKind::Unavailable, format!("quic.listen {listen}: {error}"));
        let socket = bind_socket(listen).map_err(failed)?;
        let mut config = EndpointConfig::default();
        let max_datagram_bytes = settings.max_datagram_bytes;
        config.max_udp_payload_size(max_datagram_bytes).map_err(|error| internal(&error))?;
        let server = server_config(&crypto, Datagrams::towards(listen.ip(), max_datagram_bytes));
        let endpoint = Endpoint::new(config, Some(server), socket, Arc::new(quinn::TokioRuntime)).map_err(failed)?;
        let budget = Budget::new(settings.max_under_way_bytes.0);
        Ok(Self { endpoint, max_connections: settings.max_connections, budget, crypto, max_datagram_bytes })
    }

    /// Where it listens.
    pub(crate) fn local_addr(&self) -> Result<SocketAddr> {
        self.endpoint.local_addr().map_err(|error| internal(&error))
    }

    /// The settings for a peer, by where it is.
    pub(super) fn config_towards(&self, remote: IpAddr) -> Arc<ServerConfig> {
        Arc::new(server_config(&self.crypto, Datagrams::towards(remote, self.max_datagram_bytes)))
    }
}

fn crypto(certificate: &Certificate) -> Result<QuicServerConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| internal(&error))?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.certificate.clone()], certificate.key.clone_key())
        .map_err(|error| Error::invalid(format!("certificate of the data directory: {error}")))?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    QuicServerConfig::try_from(config).map_err(|error| internal(&error))
}

fn bind_socket(listen: SocketAddr) -> std::io::Result<std::net::UdpSocket> {
    let socket = Socket::new(Domain::for_address(listen), Type::DGRAM, Some(Protocol::UDP))?;
    // Less than asked for is fine: the system's own limit.
    socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES)?;
    socket.set_send_buffer_size(SOCKET_BUFFER_BYTES)?;
    let granted_bytes = socket.recv_buffer_size()?.min(socket.send_buffer_size()?);
    if granted_bytes < SOCKET_BUFFER_BYTES {
        let hint = "raise net.core.rmem_max and net.core.wmem_max to it";
        tracing::warn!(
            granted_bytes,
            wanted_bytes = SOCKET_BUFFER_BYTES,
            hint,
            "small socket buffers slow fetches down"
        );
    }
    socket.bind(&listen.into())?;
    Ok(socket.into())
}

fn server_config(crypto: &Arc<QuicServerConfig>, datagrams: Datagrams) -> ServerConfig {
    let mut discovery = MtuDiscoveryConfig::default();
    discovery.upper_bound(datagrams.largest_bytes);
    let mut congestion = CubicConfig::default();
    congestion.initial_window(datagrams.initial_window_bytes());
    let mut transport = TransportConfig::default();
    transport
        .congestion_controller_factory(Arc::new(congestion))
        .max_concurrent_bidi_streams(VarInt::from_u32(MAX_REQUESTS))
        .max_concurrent_uni_streams(VarInt::from_u32(MAX_SEGMENT_STREAMS))
        .stream_receive_window(VarInt::from_u32(WINDOW_BYTES))
        .receive_window(VarInt::from_u32(WINDOW_BYTES))
        .send_window(WINDOW_BYTES.into())
        .max_idle_timeout(IdleTimeout::try_from(IDLE_TIMEOUT).ok())
        .datagram_receive_buffer_size(None)
        .initial_mtu(datagrams.initial_bytes)
        .mtu_discovery_config(Some(discovery))
        .enable_segmentation_offload(datagrams.segmentation_offload);
    let mut server = ServerConfig::with_crypto(Arc::<QuicServerConfig>::clone(crypto));
    server.transport_config(Arc::new(transport));
    server
}

fn internal(error: &dyn std::fmt::Display) -> Error {
    Error::new(ErrorKind::Internal, format!("data plane: {error}"))
}
