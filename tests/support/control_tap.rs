//! A Unix socket in front of a depot's control plane, which counts what is asked there.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// What a client of HTTP/2 begins with.
const PREFACE_BYTES: usize = 24;
/// A frame's length, kind, flags and stream.
const HEADER_BYTES: usize = 9;
/// The kind of frame that begins a request.
const HEADERS_KIND: u8 = 1;

/// Passes connections on to a depot's socket. It ends with the process.
#[derive(Debug)]
pub struct ControlTap {
    socket: PathBuf,
    requests: Arc<AtomicUsize>,
}

impl ControlTap {
    /// Listens at `socket` for clients of the depot at `target`.
    ///
    /// # Errors
    /// Those of sockets.
    pub fn start(socket: &Path, target: &Path) -> std::io::Result<Self> {
        let (listener, target) = (UnixListener::bind(socket)?, target.to_owned());
        let tap = Self { socket: socket.to_owned(), requests: Arc::default() };
        let requests = Arc::clone(&tap.requests);
        thread::spawn(move || {
            for client in listener.incoming() {
                if client.and_then(|client| pass(client, &target, &requests)).is_err() {
                    return;
                }
            }
        });
        Ok(tap)
    }

    /// URL of the socket.
    pub fn url(&self) -> String {
        format!("unix:{}", self.socket.display())
    }

    /// Requests so far.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

/// Passes bytes both ways, on threads of its own.
fn pass(client: UnixStream, target: &Path, requests: &Arc<AtomicUsize>) -> std::io::Result<()> {
    let (depot, requests) = (UnixStream::connect(target)?, Arc::clone(requests));
    let (mut answers, mut answered) = (depot.try_clone()?, client.try_clone()?);
    thread::spawn(move || {
        let _ = std::io::copy(&mut answers, &mut answered);
        let _ = answered.shutdown(Shutdown::Both);
    });
    thread::spawn(move || {
        let _ = count(client, &depot, &requests);
        let _ = depot.shutdown(Shutdown::Both);
    });
    Ok(())
}

/// Passes frames on, and counts those that begin a request before the depot sees them.
fn count(mut client: UnixStream, mut depot: &UnixStream, requests: &AtomicUsize) -> std::io::Result<()> {
    let mut bytes = vec![0; PREFACE_BYTES];
    client.read_exact(&mut bytes)?;
    depot.write_all(&bytes)?;
    loop {
        let mut header = [0; HEADER_BYTES];
        client.read_exact(&mut header)?;
        let [high, middle, low, kind, ..] = header;
        bytes.resize(u32::from_be_bytes([0, high, middle, low]) as usize, 0);
        client.read_exact(&mut bytes)?;
        requests.fetch_add(usize::from(kind == HEADERS_KIND), Ordering::SeqCst);
        depot.write_all(&header)?;
        depot.write_all(&bytes)?;
    }
}
