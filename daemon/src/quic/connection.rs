//! One connection: requests on bidirectional streams, the segments of puts on unidirectional ones.
//!
//! Everything that a connection holds goes with it: its tasks are dropped, and with them leases, puts and memory.

use std::sync::Arc;

use kvdepot_proto::limits::MAX_SEGMENT_BYTES;
use quinn::{Connection, ConnectionError, Incoming, ServerConfig};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::put::{Puts, receive_segments};
use super::request;
use crate::depot::Depot;
use crate::limits::Budget;

/// Bytes of segments that one connection may have on their way to the store, in units of [`MEMORY_UNIT_BYTES`].
const MEMORY_UNITS: u64 = MAX_SEGMENT_BYTES / MEMORY_UNIT_BYTES;
/// Granularity of that bound.
pub(super) const MEMORY_UNIT_BYTES: u64 = 1 << 10;

/// What the streams of a connection share.
#[derive(Clone)]
pub(super) struct Session {
    pub(super) depot: Arc<Depot>,
    pub(super) connection: Connection,
    pub(super) puts: Puts,
    pub(super) memory: Arc<Semaphore>,
    pub(super) budget: Budget,
}

/// Serves a connection until it ends, or until `stop` and the end of its transfers.
pub(super) async fn serve(
    depot: Arc<Depot>,
    incoming: Incoming,
    config: Arc<ServerConfig>,
    budget: Budget,
    stop: watch::Receiver<bool>,
) {
    let peer = incoming.remote_address();
    let connecting = match incoming.accept_with(config) {
        Ok(connecting) => connecting.await,
        Err(error) => Err(error),
    };
    match connecting {
        Ok(connection) => {
            let memory = Arc::new(Semaphore::new(usize::try_from(MEMORY_UNITS).unwrap_or(usize::MAX)));
            let session = Session { depot, connection, puts: Puts::default(), memory, budget };
            let ended = serve_streams(&session, stop).await;
            tracing::debug!(%peer, ended = ?ended.err(), "connection ended");
        }
        Err(error) => tracing::info!(%peer, %error, "no connection"),
    }
}

async fn serve_streams(session: &Session, mut stop: watch::Receiver<bool>) -> Result<(), ConnectionError> {
    let (mut requests, mut segments) = (JoinSet::new(), JoinSet::new());
    let mut stopping = false;
    while !(stopping && requests.is_empty()) {
        tokio::select! {
            streams = session.connection.accept_bi(), if !stopping => {
                requests.spawn(request::serve(session.clone(), streams?));
            }
            stream = session.connection.accept_uni() => {
                segments.spawn(receive_segments(session.clone(), stream?));
            }
            Some(_) = requests.join_next() => {}
            Some(_) = segments.join_next() => {}
            _ = stop.wait_for(|stopping| *stopping), if !stopping => stopping = true,
        }
    }
    Ok(())
}
