//! A path between a client and a daemon: datagrams pass both ways, late, some not at all.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng, rngs::StdRng};

/// Largest datagram of UDP.
const MAX_DATAGRAM_BYTES: usize = 65_536;
/// Clients that pass at a time; datagrams of more are dropped.
const MAX_CLIENTS: usize = 64;
/// How often a thread that waits for a datagram looks whether it shall end.
const LOOK_UP: Duration = Duration::from_millis(20);
/// Sockets hold what comes while a datagram is passed on, where the system allows it.
const SOCKET_BUFFER_BYTES: usize = 8 << 20;

/// What a path does to each datagram, in each direction.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Path {
    /// How much later it goes on.
    pub delay: Duration,
    /// Bytes that pass per second; unlimited if none.
    pub bytes_per_sec: Option<f64>,
    /// Datagrams that wait; more are dropped.
    pub queued_datagrams: usize,
    /// Larger datagrams are dropped.
    pub max_datagram_bytes: usize,
    /// Share of datagrams that are dropped at random.
    pub loss: f64,
    /// What that is drawn from.
    pub seed: u64,
}

impl Default for Path {
    fn default() -> Self {
        Self {
            delay: Duration::ZERO,
            bytes_per_sec: None,
            queued_datagrams: 16_384,
            max_datagram_bytes: MAX_DATAGRAM_BYTES,
            loss: 0.0,
            seed: 1,
        }
    }
}

/// A path in front of a daemon. Dropping it ends it, and with it all that is on its way.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    is_ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    /// A path on loopback, with a port that the system chooses, to the daemon at `target`.
    ///
    /// # Errors
    /// Those of sockets.
    pub fn start(target: SocketAddr, path: Path) -> std::io::Result<Self> {
        Self::listen((Ipv4Addr::LOCALHOST, 0).into(), target, path)
    }

    /// A path whose near end is `near`.
    ///
    /// # Errors
    /// Those of sockets.
    pub fn listen(near: SocketAddr, target: SocketAddr, path: Path) -> std::io::Result<Self> {
        let near = socket(near)?;
        let (address, is_ended) = (near.local_addr()?, Arc::new(AtomicBool::new(false)));
        let clients =
            Clients { near: Arc::new(near), target, path, is_ended: Arc::clone(&is_ended), ways: HashMap::new() };
        let thread = Some(std::thread::spawn(move || clients.pass()));
        Ok(Self { address, is_ended, thread })
    }

    /// Where clients send to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.is_ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The near end: each client has a way of its own to the daemon, as behind a translator of addresses.
struct Clients {
    near: Arc<UdpSocket>,
    target: SocketAddr,
    path: Path,
    is_ended: Arc<AtomicBool>,
    ways: HashMap<SocketAddr, Way>,
}

/// The way of one client.
struct Way {
    forth: Line,
    back: JoinHandle<()>,
}

impl Clients {
    fn pass(mut self) {
        let mut datagram = vec![0; MAX_DATAGRAM_BYTES];
        while !self.is_ended.load(Ordering::Relaxed) {
            // Errors are timeouts, and of datagrams sent before that nobody took.
            let Ok((len, client)) = self.near.recv_from(&mut datagram) else { continue };
            if !self.ways.contains_key(&client) && self.ways.len() < MAX_CLIENTS {
                self.open(client);
            }
            if let Some(way) = self.ways.get_mut(&client) {
                way.forth.take(&datagram[..len]);
            }
        }
        for (_, way) in self.ways {
            let _ = way.back.join();
        }
    }

    fn open(&mut self, client: SocketAddr) {
        let any = if self.target.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let Ok(far) = any.parse().map_err(std::io::Error::other).and_then(socket) else { return };
        if far.connect(self.target).is_err() {
            return;
        }
        let (far, path, near) = (Arc::new(far), self.path, Arc::clone(&self.near));
        let sending = Arc::clone(&far);
        let forth = Line::new(path, move |datagram: &[u8]| _ = sending.send(datagram));
        let back_path = Path { seed: path.seed.wrapping_add(1), ..path };
        let mut line = Line::new(back_path, move |datagram: &[u8]| _ = near.send_to(datagram, client));
        let is_ended = Arc::clone(&self.is_ended);
        let back = std::thread::spawn(move || {
            let mut datagram = vec![0; MAX_DATAGRAM_BYTES];
            while !is_ended.load(Ordering::Relaxed) {
                if let Ok(len) = far.recv(&mut datagram) {
                    line.take(&datagram[..len]);
                }
            }
        });
        self.ways.insert(client, Way { forth, back });
    }
}

/// One direction of a path: a queue, and a thread that empties it when its time has come.
struct Line {
    path: Path,
    draw: StdRng,
    /// When the last datagram is through.
    free_at: Instant,
    queue: SyncSender<(Instant, Vec<u8>)>,
}

impl Line {
    fn new(path: Path, send: impl FnMut(&[u8]) + Send + 'static) -> Self {
        let (queue, waiting) = sync_channel(path.queued_datagrams.max(1));
        std::thread::spawn(move || deliver(&waiting, send));
        Self { path, draw: StdRng::seed_from_u64(path.seed), free_at: Instant::now(), queue }
    }

    fn take(&mut self, datagram: &[u8]) {
        if datagram.len() > self.path.max_datagram_bytes || self.draw.random::<f64>() < self.path.loss {
            return;
        }
        let now = Instant::now();
        let secs = self.path.bytes_per_sec.map_or(0.0, |rate| datagram.len() as f64 / rate);
        let through = self.free_at.max(now) + Duration::from_secs_f64(secs);
        match self.queue.try_send((through + self.path.delay, datagram.to_vec())) {
            Ok(()) => self.free_at = through,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {}
        }
    }
}

/// Sends each datagram when its time has come, until the other end of the queue is gone.
fn deliver(waiting: &Receiver<(Instant, Vec<u8>)>, mut send: impl FnMut(&[u8])) {
    while let Ok((due, datagram)) = waiting.recv() {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        send(&datagram);
    }
}

fn socket(address: SocketAddr) -> std::io::Result<UdpSocket> {
    let socket = UdpSocket::bind(address)?;
    socket.set_read_timeout(Some(LOOK_UP))?;
    let buffers = socket2::SockRef::from(&socket);
    let _ = buffers.set_recv_buffer_size(SOCKET_BUFFER_BYTES);
    let _ = buffers.set_send_buffer_size(SOCKET_BUFFER_BYTES);
    Ok(socket)
}
