//! The data plane: fetches and puts over QUIC. What goes over the wire is in [`kvdepot_proto::frame`].

mod connection;
mod fetch;
mod frames;
mod put;
mod request;
mod transport;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use quinn::{Endpoint, VarInt};
use tokio::sync::watch;
use tokio::task::JoinSet;

pub(crate) use self::transport::Transport;
use crate::depot::Depot;

/// Why a stream or connection was closed, for the peer.
mod close {
    use super::VarInt;

    /// The daemon stops.
    pub(super) const SHUTDOWN: VarInt = VarInt::from_u32(0);
    /// The transfer that the stream belongs to has failed or ended.
    pub(super) const TRANSFER_ENDED: VarInt = VarInt::from_u32(1);
    /// No put of this connection announced the transfer.
    pub(super) const UNKNOWN_TRANSFER: VarInt = VarInt::from_u32(2);
    /// The receiver of a fetch wants none of what the stream has.
    pub(super) const NOT_WANTED: VarInt = VarInt::from_u32(kvdepot_proto::transport::NOT_WANTED_CODE);
}

/// Serves until `stop`, then until the transfers in progress have ended.
pub(crate) async fn serve(depot: Arc<Depot>, transport: Transport, stop: watch::Receiver<bool>) {
    let mut stopped = stop.clone();
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            incoming = transport.endpoint.accept() => {
                let Some(incoming) = incoming else { break };
                if connections.len() >= transport.max_connections {
                    incoming.refuse();
                } else {
                    let config = transport.config_towards(incoming.remote_address().ip());
                    let serve = connection::serve(Arc::clone(&depot), incoming, config, transport.budget.clone(), stop.clone());
                connections.spawn(serve);
                }
            }
            Some(_) = connections.join_next() => {}
            _ = stopped.wait_for(|stopping| *stopping) => break,
        }
    }
    while connections.join_next().await.is_some() {}
    close(&transport.endpoint).await;
}

async fn close(endpoint: &Endpoint) {
    endpoint.close(close::SHUTDOWN, b"the daemon stops");
    endpoint.wait_idle().await;
}
