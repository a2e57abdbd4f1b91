//! A running depot: the store opened, both planes served.

use std::fs::DirBuilder;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kvdepot_proto::data_dir::{CERTIFICATE, Endpoints, LOCAL_SOCKET, SOCKET};
use kvdepot_proto::{Error, ErrorKind, Result};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tonic_health::server::HealthReporter;

use crate::blocking::blocking;
use crate::clock::system_clock;
use crate::depot::Depot;
use crate::endpoints::EndpointsFile;
use crate::grpc::{self, Identification, UnixSocket};
use crate::local;
use crate::quic::{self, Transport};
use crate::settings::{self, Settings};
use crate::tls::{self, Certificate};

/// Directory of the store, inside the data directory.
const STORE: &str = "store";
/// How long the last uses of the store may take once everything is told to stop.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(30);

/// A running depot. Dropping it stops it at once; [`shutdown`](Self::shutdown) lets transfers end first.
pub struct Daemon {
    endpoints: Endpoints,
    depot: Arc<Depot>,
    closed: oneshot::Receiver<()>,
    health: HealthReporter,
    stop: watch::Sender<bool>,
    servers: JoinSet<()>,
    drain: Duration,
    _sockets: [UnixSocket; 2],
    _endpoints_file: EndpointsFile,
}

impl Daemon {
    /// Opens the data directory, which is made if missing, and serves it.
    ///
    /// # Errors
    /// `Invalid` for settings that do not fit, `Unavailable` when the directory is in use or an address is taken,
    /// `Incompatible` when the directory was made by another version or with other chunks, `Corrupt` when its store
    /// cannot be read.
    pub async fn start(settings: Settings) -> Result<Self> {
        settings.check()?;
        let started = Instant::now();
        let data_dir = settings.data_dir.as_path();
        make_dir(data_dir)?;
        let (store, store_dir) = (settings.store.clone(), data_dir.join(STORE));
        let (depot, closed) = blocking(move || Depot::open(&store_dir, &store, system_clock())).await?;
        let depot = Arc::new(depot);
        let certificate = Certificate::of_data_dir(
            data_dir,
            tls::names([&settings.grpc.listen, &settings.quic.listen].map(|listen| settings::host(listen))),
        )?;
        let listeners = Listeners::bind(&settings, &certificate).await?;
        let endpoints = listeners.endpoints(data_dir)?;
        let local_plane = local::announcement(&data_dir.join(LOCAL_SOCKET))?;
        let identification = Identification {
            started,
            quic_address: endpoints.quic.clone(),
            certificate_der: certificate.certificate.to_vec(),
            local_plane: local_plane.clone(),
        };
        let (routes, health) = grpc::services(&depot, identification).await?;
        let (stop, stopping) = watch::channel(false);
        let Listeners { tcp, unix, local, quic: transport, sockets } = listeners;
        let mut servers = JoinSet::new();
        servers.spawn(quic::serve(Arc::clone(&depot), transport, stopping.clone()));
        servers.spawn(local::serve(Arc::clone(&depot), local, local_plane.token, stopping.clone()));
        servers.spawn(logged(grpc::serve_unix(routes.clone(), unix, stopped(stopping.clone()))));
        servers.spawn(async move { logged(grpc::serve_tls(routes, tcp, &certificate, stopped(stopping))).await });
        let endpoints_file = EndpointsFile::write(data_dir, &endpoints)?;
        let drain = Duration::from_secs(settings.shutdown.drain_secs);
        tracing::info!(grpc = endpoints.grpc, quic = endpoints.quic, data_dir = %data_dir.display(), "serving");
        Ok(Self {
            endpoints,
            depot,
            closed,
            health,
            stop,
            servers,
            drain,
            _sockets: sockets,
            _endpoints_file: endpoints_file,
        })
    }

    /// Where it listens.
    pub fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    /// Takes no more requests, waits for those in progress as long as the settings say, and closes the store.
    ///
    /// # Errors
    /// `Busy` or `Unavailable` when the system refuses to write what is left to write; nothing that was acknowledged
    /// is lost.
    pub async fn shutdown(mut self) -> Result<()> {
        grpc::stop_serving(&self.health).await;
        self.stop.send_replace(true);
        let drained = async { while self.servers.join_next().await.is_some() {} };
        if tokio::time::timeout(self.drain, drained).await.is_err() {
            tracing::warn!(drain_secs = self.drain.as_secs(), "transfers in progress did not end in time");
        }
        self.servers.shutdown().await;
        let depot = Arc::clone(&self.depot);
        let flushed = blocking(move || depot.flush()).await;
        drop(self.depot);
        if tokio::time::timeout(CLOSE_TIMEOUT, self.closed).await.is_err() {
            tracing::warn!("the store is still in use");
        }
        tracing::info!("stopped");
        flushed
    }
}

/// Made for its owner only: whoever reads the directory reads every tenant's tokens.
fn make_dir(path: &Path) -> Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| unavailable(&format!("data directory {}", path.display()), &error))
}

/// Every address of a daemon, bound.
struct Listeners {
    tcp: TcpListener,
    quic: Transport,
    unix: UnixListener,
    local: UnixListener,
    sockets: [UnixSocket; 2],
}

impl Listeners {
    async fn bind(settings: &Settings, certificate: &Certificate) -> Result<Self> {
        let grpc = resolve("grpc", &settings.grpc.listen).await?;
        let tcp = TcpListener::bind(grpc).await.map_err(|error| unavailable(&format!("grpc.listen {grpc}"), &error))?;
        let quic = Transport::bind(resolve("quic", &settings.quic.listen).await?, certificate, &settings.quic)?;
        let (control, unix) = UnixSocket::bind(&settings.data_dir.join(SOCKET))?;
        let (fetch, local) = UnixSocket::bind(&settings.data_dir.join(LOCAL_SOCKET))?;
        Ok(Self { tcp, quic, unix, local, sockets: [control, fetch] })
    }

    fn endpoints(&self, data_dir: &Path) -> Result<Endpoints> {
        Ok(Endpoints {
            grpc: self.tcp.local_addr().map_err(|error| unavailable("grpc.listen", &error))?.to_string(),
            quic: self.quic.local_addr()?.to_string(),
            socket: data_dir.join(SOCKET),
            ca: data_dir.join(CERTIFICATE),
            pid: std::process::id(),
        })
    }
}

async fn resolve(section: &str, listen: &str) -> Result<SocketAddr> {
    let what = format!("{section}.listen {listen}");
    let mut addresses = tokio::net::lookup_host(listen).await.map_err(|error| unavailable(&what, &error))?;
    addresses.next().ok_or_else(|| Error::new(ErrorKind::Unavailable, format!("{what} has no address")))
}

async fn stopped(mut stop: watch::Receiver<bool>) {
    // Without a sender the daemon was dropped: stop as well.
    let _ = stop.wait_for(|stopping| *stopping).await;
}

async fn logged(server: impl Future<Output = Result<()>>) {
    if let Err(error) = server.await {
        tracing::error!(%error, "a server ended");
    }
}

fn unavailable(what: &str, error: &std::io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, format!("{what}: {error}"))
}
