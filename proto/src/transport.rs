//! Settings of the QUIC transport that both sides share, as plain numbers.

use std::{net::IpAddr, time::Duration};

/// Flow-control window of a connection and of each stream: enough for 10 Gbit/s at 50 ms.
pub const WINDOW_BYTES: u32 = 64 << 20;
/// Unidirectional streams that a peer may have open at once.
pub const MAX_SEGMENT_STREAMS: u32 = 64;
/// UDP socket buffers to ask for. With Linux's default of 208 KiB a fast sender overruns the receiver: 350 congestion
/// events per GB on loopback, next to none with this.
pub const SOCKET_BUFFER_BYTES: usize = 8 << 20;
/// Silence after which a connection is given up.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Interval of the client's keep-alive packets, so that a long commit is not taken for silence.
pub const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Code of a stream that the depot resets because the receiver of a fetch wants none of what it has.
pub const NOT_WANTED_CODE: u32 = 3;

/// Largest datagram that either side sends or takes: nearly all that UDP has.
pub const MAX_DATAGRAM_BYTES: u16 = 65_000;
/// Smallest that QUIC allows a path to carry.
pub const MIN_DATAGRAM_BYTES: u16 = 1_200;
/// Largest datagram of which quinn may hand ten to the kernel at once: a batch above 65,507 bytes vanishes without an error.
const MAX_OFFLOADED_DATAGRAM_BYTES: u16 = 6_500;

/// Sizes of the datagrams on a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Datagrams {
    /// Size to start with.
    pub initial_bytes: u16,
    /// Where the search for the path's largest size ends.
    pub largest_bytes: u16,
    /// Whether the kernel cuts batches of datagrams (GSO).
    pub segmentation_offload: bool,
}

impl Datagrams {
    /// Congestion window to start with: ten datagrams, as RFC 9002 has it. A connection whose window does not hold one
    /// datagram sends nothing at all.
    pub fn initial_window_bytes(&self) -> u64 {
        u64::from(self.initial_bytes).saturating_mul(10)
    }

    /// The sizes for the path to `remote`, none above `limit_bytes`: as large as there are inside the machine, where bytes
    /// per datagram decide the speed; else whatever size the path turns out to carry.
    pub fn towards(remote: IpAddr, limit_bytes: u16) -> Self {
        let is_inside = remote.to_canonical().is_loopback();
        let carried_bytes = if is_inside { MAX_DATAGRAM_BYTES } else { MAX_OFFLOADED_DATAGRAM_BYTES };
        let largest_bytes = carried_bytes.min(limit_bytes).max(MIN_DATAGRAM_BYTES);
        Self {
            initial_bytes: if is_inside { largest_bytes } else { MIN_DATAGRAM_BYTES },
            largest_bytes,
            segmentation_offload: largest_bytes <= MAX_OFFLOADED_DATAGRAM_BYTES,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_are_large_inside_the_machine_and_start_safe_elsewhere() {
        for inside in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
            let datagrams = Datagrams::towards(inside.parse().unwrap(), MAX_DATAGRAM_BYTES);
            assert_eq!((datagrams.initial_bytes, datagrams.segmentation_offload), (MAX_DATAGRAM_BYTES, false));
        }
        for remote in ["192.0.2.1", "2001:db8::1"] {
            let datagrams = Datagrams::towards(remote.parse().unwrap(), MAX_DATAGRAM_BYTES);
            assert_eq!((datagrams.initial_bytes, datagrams.segmentation_offload), (MIN_DATAGRAM_BYTES, true));
            assert!(u32::from(datagrams.largest_bytes) * 10 <= 65_507, "quinn hands ten to the kernel at once");
        }
        for limit_bytes in [MIN_DATAGRAM_BYTES, 1_452, 9_000] {
            let datagrams = Datagrams::towards("127.0.0.1".parse().unwrap(), limit_bytes);
            assert_eq!((datagrams.initial_bytes, datagrams.largest_bytes), (limit_bytes, limit_bytes));
            assert_eq!(datagrams.segmentation_offload, limit_bytes < 6_550);
        }
    }
}
