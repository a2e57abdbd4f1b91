//! The control plane: gRPC over TLS on TCP, and without TLS on a Unix socket that only its owner may open.

mod admin;
mod depot;
mod transfer;
mod unix;

#[cfg(test)]
mod tests;

use std::future::Future;
use std::sync::Arc;

use kvdepot_proto::transport::{IDLE_TIMEOUT, KEEP_ALIVE};
use kvdepot_proto::v1::admin_server::AdminServer;
use kvdepot_proto::v1::depot_server::DepotServer;
use kvdepot_proto::{Error, ErrorKind, Result, limits, v1};
use tokio::net::{TcpListener, UnixListener};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::service::Routes;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Identity, Server, ServerTlsConfig};
use tonic_health::server::HealthReporter;

use self::admin::AdminService;
pub(crate) use self::admin::Identification;
use self::depot::DepotService;
pub(crate) use self::unix::UnixSocket;
use crate::depot::Depot;
use crate::tls::Certificate;

/// Calls that a connection may have in progress at once.
const MAX_CALLS: u32 = 64;

/// Enough for the tokens of a long context at once: with less, `Match` takes a round trip for each window.
const WINDOW_BYTES: u32 = 1 << 20;

/// The services, and what tells whether they serve.
pub(crate) async fn services(depot: &Arc<Depot>, identification: Identification) -> Result<(Routes, HealthReporter)> {
    let depot_server = DepotServer::new(DepotService::new(Arc::clone(depot)))
        .max_decoding_message_size(limits::MAX_MESSAGE_BYTES)
        .max_encoding_message_size(limits::MAX_MESSAGE_BYTES);
    let admin_server = AdminServer::new(AdminService::new(Arc::clone(depot), identification))
        .max_encoding_message_size(limits::MAX_MESSAGE_BYTES);
    let (reporter, health_server) = tonic_health::server::health_reporter();
    reporter.set_serving::<DepotServer<DepotService>>().await;
    reporter.set_serving::<AdminServer<AdminService>>().await;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(v1::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .map_err(|error| Error::new(ErrorKind::Internal, format!("reflection: {error}")))?;
    let routes = Routes::new(depot_server).add_service(admin_server).add_service(health_server).add_service(reflection);
    Ok((routes, reporter))
}

/// Tells health checks that the daemon is about to go.
pub(crate) async fn stop_serving(reporter: &HealthReporter) {
    reporter.set_not_serving::<DepotServer<DepotService>>().await;
    reporter.set_not_serving::<AdminServer<AdminService>>().await;
    reporter.set_service_status("", tonic_health::ServingStatus::NotServing).await;
}

/// Serves over TLS until `stop`, then until the calls in progress have ended.
pub(crate) async fn serve_tls(
    routes: Routes,
    listener: TcpListener,
    certificate: &Certificate,
    stop: impl Future<Output = ()>,
) -> Result<()> {
    let identity = Identity::from_pem(&certificate.certificate_pem, &certificate.key_pem);
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let mut server = server().tls_config(ServerTlsConfig::new().identity(identity)).map_err(|e| failed(&e))?;
    server.add_routes(routes).serve_with_incoming_shutdown(incoming, stop).await.map_err(|e| failed(&e))
}

/// Serves on a Unix socket until `stop`, then until the calls in progress have ended.
pub(crate) async fn serve_unix(routes: Routes, listener: UnixListener, stop: impl Future<Output = ()>) -> Result<()> {
    let incoming = UnixListenerStream::new(listener);
    server().add_routes(routes).serve_with_incoming_shutdown(incoming, stop).await.map_err(|e| failed(&e))
}

/// Connections whose peer has vanished end, and with them their calls.
fn server() -> Server {
    Server::builder()
        .max_concurrent_streams(MAX_CALLS)
        .initial_stream_window_size(Some(WINDOW_BYTES))
        .initial_connection_window_size(Some(2 * WINDOW_BYTES))
        .http2_keepalive_interval(Some(KEEP_ALIVE))
        .http2_keepalive_timeout(Some(IDLE_TIMEOUT))
}

fn failed(error: &tonic::transport::Error) -> Error {
    let cause = std::error::Error::source(error).map(|source| format!(": {source}")).unwrap_or_default();
    Error::new(ErrorKind::Unavailable, format!("control plane: {error}{cause}"))
}
