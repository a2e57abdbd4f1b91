//! Settings of quinn and rustls.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Arc, Once},
};

use kvdepot_proto::{ALPN, transport};
use quinn::{
    ClientConfig, Endpoint, EndpointConfig, MtuDiscoveryConfig, TokioRuntime, TransportConfig, congestion::CubicConfig,
    crypto::rustls::QuicClientConfig,
};
use rustls::{
    CipherSuite,
    crypto::{CryptoProvider, aws_lc_rs},
    version::TLS13,
};

use super::pin::PinnedCertificate;
use crate::{Error, ErrorKind, Result};

/// Sent in the handshake; the certificate is pinned, so no name is checked.
pub(super) const SERVER_NAME: &str = "localhost";

/// A socket for connections to `remote`, with the largest buffers that the system allows.
pub(super) fn endpoint(remote: SocketAddr) -> io::Result<Endpoint> {
    let any: IpAddr = match remote {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = std::net::UdpSocket::bind((any, 0))?;
    let buffers = socket2::SockRef::from(&socket);
    let _ = buffers.set_recv_buffer_size(transport::SOCKET_BUFFER_BYTES);
    let _ = buffers.set_send_buffer_size(transport::SOCKET_BUFFER_BYTES);
    say_if_small(buffers.recv_buffer_size()?);
    let mut config = EndpointConfig::default();
    config.max_udp_payload_size(transport::MAX_DATAGRAM_BYTES).map_err(io::Error::other)?;
    Endpoint::new(config, None, socket, Arc::new(TokioRuntime))
}

/// Says once what the system's limit costs.
fn say_if_small(granted_bytes: usize) {
    static SAID: Once = Once::new();
    if granted_bytes < transport::SOCKET_BUFFER_BYTES {
        let (wanted_bytes, hint) = (transport::SOCKET_BUFFER_BYTES, "raise net.core.rmem_max to it");
        SAID.call_once(|| {
            tracing::info!(granted_bytes, wanted_bytes, hint, "a small socket buffer slows fetches down")
        });
    }
}

/// TLS that trusts `certificate` and nothing else, over a transport for the path to `remote`.
pub(super) fn client(remote: SocketAddr, certificate: &[u8]) -> Result<ClientConfig> {
    let failed = |error: &dyn std::fmt::Display| Error::new(ErrorKind::Internal, format!("cannot set up TLS: {error}"));
    let provider = Arc::new(provider());
    let pinned = PinnedCertificate::new(certificate, provider.signature_verification_algorithms);
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| failed(&error))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(pinned))
        .with_no_client_auth();
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).map_err(|error| failed(&error))?));
    config.transport_config(Arc::new(transport_towards(remote.ip())));
    Ok(config)
}

/// AES-128 first: it is a fifth faster than AES-256, and the depot takes what its client likes best.
fn provider() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites.sort_by_key(|suite| suite.suite() != CipherSuite::TLS13_AES_128_GCM_SHA256);
    provider
}

fn transport_towards(remote: IpAddr) -> TransportConfig {
    let datagrams = transport::Datagrams::towards(remote, transport::MAX_DATAGRAM_BYTES);
    let mut discovery = MtuDiscoveryConfig::default();
    discovery.upper_bound(datagrams.largest_bytes);
    let mut congestion = CubicConfig::default();
    congestion.initial_window(datagrams.initial_window_bytes());
    let mut config = TransportConfig::default();
    config
        .congestion_controller_factory(Arc::new(congestion))
        .initial_mtu(datagrams.initial_bytes)
        .mtu_discovery_config(Some(discovery))
        .enable_segmentation_offload(datagrams.segmentation_offload)
        .max_concurrent_bidi_streams(0u8.into())
        .max_concurrent_uni_streams(transport::MAX_SEGMENT_STREAMS.into())
        .stream_receive_window(transport::WINDOW_BYTES.into())
        .receive_window(transport::WINDOW_BYTES.into())
        .send_window(transport::WINDOW_BYTES.into())
        .keep_alive_interval(Some(transport::KEEP_ALIVE))
        .max_idle_timeout(transport::IDLE_TIMEOUT.try_into().ok());
    config
}
