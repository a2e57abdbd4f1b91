//! Settings of the QUIC transport that both sides share, as plain numbers.

use std::{net::IpAddr, time::Duration};

/// Flow-control window of a connection and of each stream: enough for 10 Gbit/s at 50 ms.
pub const WINDOW_BYTES: u32 = 64 << 20;
/// Unidirectional streams that a peer may have open at once.
pub const MAX_SEGMENT_STREAMS: u32 = 64;
/// UDP socket buffers to ask for. With Linux's default of 208 KiB a fast sender overruns the receiver: 350 congestion
/// events per GB on loopback, next to none with this.
pub const SOCKET_BUFFER_BYTES: usize = 8 << 20;
/// Largest UDP payload that an endpoint says it takes.
pub const MAX_UDP_PAYLOAD_BYTES: u16 = 65_527;
/// Silence after which a connection is given up.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Interval of the client's keep-alive packets, so that a long commit is not taken for silence.
pub const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Code of a stream that the depot resets because the receiver of a fetch wants none of what it has.
pub const NOT_WANTED_CODE: u32 = 3;

/// Sizes of the datagrams on a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Datagrams {
    /// Size to start with.
    pub initial_bytes: u16,
    /// Where the search for the path's largest size ends.
    pub largest_bytes: u16,
    /// Whether the kernel cuts batches of datagrams (GSO). quinn batches ten, and a batch above 65,507 bytes vanishes
    /// without an error, so this goes with sizes up to 6,550 only.
    pub segmentation_offload: bool,
}

impl Datagrams {
    const LOOPBACK: Self = Self { initial_bytes: 65_000, largest_bytes: 65_000, segmentation_offload: false };
    const NETWORK: Self = Self { initial_bytes: 1_200, largest_bytes: 6_500, segmentation_offload: true };

    /// Congestion window to start with: ten datagrams, as RFC 9002 has it. A connection whose window does not hold one
    /// datagram sends nothing at all.
    pub fn initial_window_bytes(&self) -> u64 {
        u64::from(self.initial_bytes).saturating_mul(10)
    }

    /// The sizes for the path to `remote`: as large as there are inside the machine, where bytes per datagram decide
    /// the speed; else whatever size the path turns out to carry.
    pub fn towards(remote: IpAddr) -> Self {
        if remote.to_canonical().is_loopback() { Self::LOOPBACK } else { Self::NETWORK }
    }
}
