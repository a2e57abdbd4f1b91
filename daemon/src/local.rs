//! The local plane: fetches by receivers on this host, over a Unix socket, with segments in memory that both may read.
//!
//! A connection carries one fetch. What is sent over it is in `STREAM.md`, "The local plane".

mod fetch;
mod loans;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kvdepot_local::{FrameReader, FrameWriter, halves, host_id, is_trusted};
use kvdepot_proto::frame::Frame;
use kvdepot_proto::transport::IDLE_TIMEOUT;
use kvdepot_proto::{Error, ErrorKind, Result, v1};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::depot::Depot;

/// Most fetches at a time; more are turned away, and go over QUIC.
const MAX_CONNECTIONS: usize = 64;
/// Wait after the system refused a connection.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// How long a receiver has to say what it wants.
const REQUEST_TIMEOUT: Duration = IDLE_TIMEOUT;

/// What receivers have to know of the plane: who shows the token has asked the control plane of this very daemon.
///
/// # Errors
/// `Unavailable` without random numbers.
pub(crate) fn announcement(socket: &Path) -> Result<v1::LocalPlane> {
    let mut token = vec![0; 16];
    let random = rustls::crypto::aws_lc_rs::default_provider().secure_random;
    random.fill(&mut token).map_err(|_| Error::new(ErrorKind::Unavailable, "the system gives no random numbers"))?;
    Ok(v1::LocalPlane { socket: socket.display().to_string(), host_id: host_id().unwrap_or_default(), token })
}

/// Serves until `stop`, then until the fetches in progress have ended.
pub(crate) async fn serve(depot: Arc<Depot>, listener: UnixListener, token: Vec<u8>, mut stop: watch::Receiver<bool>) {
    let token = Arc::<[u8]>::from(token);
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            _ = stop.wait_for(|stopping| *stopping) => break,
        };
        match accepted {
            Ok((stream, _)) if connections.len() < MAX_CONNECTIONS && is_trusted(&stream) => {
                connections.spawn(serve_one(Arc::clone(&depot), stream, Arc::clone(&token)));
            }
            Ok(_) => tracing::debug!(connections = connections.len(), "turned a local receiver away"),
            Err(error) => {
                // Such as too many open files, which others have to close first.
                tracing::warn!(%error, "cannot take a local receiver");
                tokio::time::sleep(ACCEPT_AGAIN).await;
            }
        }
    }
    while connections.join_next().await.is_some() {}
}

async fn serve_one(depot: Arc<Depot>, stream: UnixStream, token: Arc<[u8]>) {
    let started = Instant::now();
    let (mut reader, mut writer) = halves(stream);
    let outcome = answer(depot, &mut reader, &mut writer, &token).await;
    let millis = started.elapsed().as_millis();
    let last = match outcome {
        Ok(done) => {
            tracing::info!(segments = done.segments, payload_bytes = done.payload_bytes, millis, "local fetch");
            Frame::FetchDone(done)
        }
        Err(error) => {
            tracing::warn!(kind = ?error.kind(), %error, millis, "local fetch failed");
            Frame::from(&error)
        }
    };
    // It may have gone, which is why it failed.
    let _ = writer.write(&last, &[]).await;
}

async fn answer(
    depot: Arc<Depot>,
    reader: &mut FrameReader,
    writer: &mut FrameWriter,
    token: &[u8],
) -> Result<v1::FetchDone> {
    let request = tokio::time::timeout(REQUEST_TIMEOUT, request(reader, token)).await;
    let request = request.map_err(|_| Error::new(ErrorKind::Unavailable, "a receiver that asks nothing"))??;
    fetch::serve(depot, reader, writer, request).await
}

async fn request(reader: &mut FrameReader, token: &[u8]) -> Result<v1::FetchRequest> {
    match reader.next().await? {
        Some(Frame::Hello(hello)) if hello.token == token => {}
        Some(Frame::Hello(_)) => {
            let message = "not the token of this daemon: ask the control plane for it";
            return Err(Error::new(ErrorKind::Unavailable, message));
        }
        other => return Err(unexpected(other.as_ref(), "a greeting")),
    }
    match reader.next().await? {
        Some(Frame::Fetch(request)) => Ok(request),
        other => Err(unexpected(other.as_ref(), "a fetch")),
    }
}

fn unexpected(frame: Option<&Frame>, due: &str) -> Error {
    match frame {
        Some(frame) => Error::invalid(format!("frame {} where {due} was due", frame.name())),
        None => Error::new(ErrorKind::Unavailable, format!("the receiver has gone where {due} was due")),
    }
}
