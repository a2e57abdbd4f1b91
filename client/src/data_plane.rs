//! Which way KV travels: through shared memory, over a QUIC connection of its own, or over the control plane.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    ConnectOptions, Error, ErrorKind, Result, TransportChoice, Usage, connect::Address, control::Control, local, quic,
    retries::Retries,
};

/// The QUIC connections to one depot. A transfer has a connection to itself; one that ends early takes its connection
/// with it, so that nothing of it can reach the next.
///
/// What the depot says of itself is asked once: where its planes are, and which certificate it shows. A transfer that
/// breaks forgets it, since that is how a daemon shows that it was restarted: `STREAM.md`, "Resume".
pub(crate) struct DataPlane {
    control: Control,
    choice: TransportChoice,
    resume_within: Duration,
    address: Option<SocketAddr>,
    known: Mutex<Option<Arc<Usage>>>,
    idle: Mutex<Vec<quic::Connection>>,
    avoid_until: Mutex<Option<Instant>>,
}

/// The way of one transfer.
pub(crate) enum Route {
    Quic(quic::Connection),
    Grpc,
}

impl DataPlane {
    /// Longest wait for a handshake before gRPC is taken instead.
    const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(3);
    /// How long QUIC is left alone after it did not get through.
    const AVOID: Duration = Duration::from_secs(60);
    /// Silence after which the control plane is asked whether the daemon still lives.
    const SILENCE: Duration = Duration::from_millis(250);
    /// Most connections kept for later.
    const MAX_IDLE: usize = 4;

    pub(crate) fn new(control: Control, options: &ConnectOptions) -> Self {
        let ConnectOptions { transport: choice, resume_within, quic_address: address, .. } = *options;
        if choice != TransportChoice::Grpc {
            quic::warm_up();
        }
        Self {
            control,
            choice,
            resume_within,
            address,
            known: Mutex::default(),
            idle: Mutex::default(),
            avoid_until: Mutex::default(),
        }
    }

    /// The tries of a transfer.
    pub(crate) fn retries(&self) -> Retries {
        Retries::new(self.resume_within, lock(&self.known).is_some())
    }

    /// What the depot said of itself when it was asked last.
    pub(crate) async fn known(&self) -> Result<Arc<Usage>> {
        if let Some(known) = &*lock(&self.known) {
            return Ok(Arc::clone(known));
        }
        let known = Arc::new(Usage::ask(&self.control).await?);
        *lock(&self.known) = Some(Arc::clone(&known));
        Ok(known)
    }

    /// Takes note of how a transfer went: what was known when one broke may be of a daemon that is gone.
    pub(crate) fn learn_from<T>(&self, outcome: Result<T>) -> Result<T> {
        if outcome.as_ref().is_err_and(|error| error.kind() == ErrorKind::Unavailable) {
            lock(&self.known).take();
            lock(&self.idle).clear();
        }
        outcome
    }

    /// A connection for one fetch through shared memory, where the depot's place and the caller's choice allow one.
    pub(crate) async fn local(&self) -> Result<Option<local::Connection>> {
        if !matches!(self.choice, TransportChoice::Auto | TransportChoice::Local) {
            return Ok(None);
        }
        match self.open_local().await {
            Err(error) if self.choice == TransportChoice::Auto && error.kind() == ErrorKind::Unavailable => {
                tracing::debug!(%error, "no local plane");
                Ok(None)
            }
            opened => opened.map(Some),
        }
    }

    async fn open_local(&self) -> Result<local::Connection> {
        let known = self.known().await?;
        let elsewhere = || Error::new(ErrorKind::Unavailable, "the depot is not on this host");
        local::Connection::open(known.local_plane.as_ref().ok_or_else(elsewhere)?, self.control.timeout()).await
    }

    /// Finds the way for one transfer over a network: a connection that is open, or a new one. One to the daemon before a restart
    /// looks open until it times out; [`Self::watched`] finds out.
    pub(crate) async fn route(&self) -> Result<Route> {
        if self.choice == TransportChoice::Grpc || lock(&self.avoid_until).is_some_and(|until| Instant::now() < until) {
            return Ok(Route::Grpc);
        }
        while let Some(connection) = self.take_idle() {
            if connection.is_open() {
                return Ok(Route::Quic(connection));
            }
        }
        let known = self.known().await?;
        match self.open(&known).await {
            Err(error) if self.choice != TransportChoice::Quic && error.kind() == ErrorKind::Unavailable => {
                tracing::warn!(%error, "QUIC does not get through, using gRPC");
                *lock(&self.avoid_until) = Instant::now().checked_add(Self::AVOID);
                Ok(Route::Grpc)
            }
            opened => opened.map(Route::Quic),
        }
    }

    /// Runs a transfer for as long as the daemon at the other end lives: QUIC alone would notice its death only after
    /// [`IDLE_TIMEOUT`](kvdepot_proto::transport::IDLE_TIMEOUT).
    pub(crate) async fn watched<T>(
        &self,
        connection: &quic::Connection,
        transfer: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        tokio::select! {
            outcome = transfer => outcome,
            lost = self.loss_of(connection) => Err(lost),
        }
    }

    /// Asks the control plane about the daemon whenever the connection has been silent, until it is gone.
    async fn loss_of(&self, connection: &quic::Connection) -> Error {
        loop {
            let before = connection.received_datagrams();
            tokio::time::sleep(Self::SILENCE).await;
            if connection.received_datagrams() != before {
                continue;
            }
            let asked = Instant::now();
            match Usage::ask(&self.control).await {
                Err(error) if error.kind() == ErrorKind::Unavailable => return error,
                Ok(usage) if is_from_before(connection, asked, &usage) => {
                    return Error::new(ErrorKind::Unavailable, "the daemon was restarted during the transfer");
                }
                _ => {}
            }
        }
    }

    /// Keeps the connection of a transfer that ended well.
    pub(crate) fn give_back(&self, connection: quic::Connection) {
        let mut idle = lock(&self.idle);
        if idle.len() < Self::MAX_IDLE {
            idle.push(connection);
        }
    }

    pub(crate) async fn close(&self) {
        while let Some(connection) = self.take_idle() {
            connection.close().await;
        }
    }

    fn take_idle(&self) -> Option<quic::Connection> {
        lock(&self.idle).pop()
    }

    async fn open(&self, usage: &Usage) -> Result<quic::Connection> {
        let address = match self.address {
            Some(address) => address,
            None => self.dialled(&usage.quic_address).await?,
        };
        let timeout = self.control.timeout();
        quic::Connection::open(address, &usage.quic_certificate, timeout.min(Self::HANDSHAKE_TIMEOUT), timeout).await
    }

    /// Where to dial a depot that is bound to `bound`: the host of the control plane, when it listens everywhere.
    async fn dialled(&self, bound: &str) -> Result<SocketAddr> {
        let unusable = |reason: String| {
            Error::new(ErrorKind::Unavailable, format!("the depot's QUIC address {bound:?} is not usable: {reason}"))
        };
        let bound: SocketAddr = bound.parse().map_err(|error| unusable(format!("{error}")))?;
        if !bound.ip().is_unspecified() {
            return Ok(bound);
        }
        let Some(host) = Address::parse(self.control.url())?.host() else {
            return Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), bound.port()));
        };
        let host = host.trim_matches(['[', ']']);
        let mut found =
            tokio::net::lookup_host((host, bound.port())).await.map_err(|error| unusable(error.to_string()))?;
        found.next().ok_or_else(|| unusable(format!("{host} has no address")))
    }
}

/// Whether the connection was opened to a daemon before the one that `usage`, asked for at `asked`, is of. Uptime comes
/// in whole milliseconds.
fn is_from_before(connection: &quic::Connection, asked: Instant, usage: &Usage) -> bool {
    connection.age_at(asked) > usage.uptime + Duration::from_millis(1)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
