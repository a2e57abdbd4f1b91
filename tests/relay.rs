//! What the path of the other tests does to datagrams.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use kvdepot_tests::{Path, Relay};

/// Far longer than any datagram takes.
const PATIENCE: Duration = Duration::from_secs(20);
/// What the last datagrams say.
const MARK: u8 = 255;

/// An echo behind a path, and a socket in front of it.
fn echo_behind(path: Path) -> anyhow::Result<(Relay, UdpSocket)> {
    let echo = UdpSocket::bind("127.0.0.1:0")?;
    echo.set_read_timeout(Some(PATIENCE))?;
    let relay = Relay::start(echo.local_addr()?, path)?;
    std::thread::spawn(move || {
        let mut datagram = [0; 2048];
        while let Ok((len, from)) = echo.recv_from(&mut datagram) {
            if len == 0 || echo.send_to(&datagram[..len], from).is_err() {
                return;
            }
        }
    });
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.connect(relay.address())?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok((relay, socket))
}

#[test]
fn datagrams_come_back_whole_and_a_round_trip_later() -> anyhow::Result<()> {
    let delay = Duration::from_millis(15);
    let (_relay, socket) = echo_behind(Path { delay, max_datagram_bytes: 1_000, ..Path::default() })?;
    let started = Instant::now();
    socket.send(&[9; 1_001])?;
    socket.send(&[7; 1_000])?;
    let mut datagram = [0; 2048];
    assert_eq!(socket.recv(&mut datagram)?, 1_000, "the larger one is dropped");
    assert!(datagram[..1_000] == [7; 1_000]);
    assert!(started.elapsed() >= 2 * delay, "{:?}", started.elapsed());
    Ok(())
}

#[test]
fn a_rate_spreads_datagrams_and_a_full_queue_drops_them() -> anyhow::Result<()> {
    let path = Path { bytes_per_sec: Some(20_000.0), queued_datagrams: 4, ..Path::default() };
    let (_relay, socket) = echo_behind(path)?;
    let started = Instant::now();
    for number in 0..100u8 {
        socket.send(&[number; 1_000])?;
    }
    let mut datagram = [0; 2048];
    socket.recv(&mut datagram)?;
    let first = (datagram[0], started.elapsed());
    socket.set_read_timeout(Some(Duration::from_millis(500)))?;
    let come = std::iter::from_fn(|| socket.recv(&mut datagram).ok()).count();
    assert!(first.0 == 0 && first.1 >= Duration::from_millis(50), "{first:?}");
    assert!((2..50).contains(&come), "{come} of 99 passed a queue of 4");
    Ok(())
}

#[test]
fn equal_seeds_lose_the_same_datagrams() -> anyhow::Result<()> {
    let survivors = || -> anyhow::Result<Vec<u8>> {
        let (_relay, socket) = echo_behind(Path { loss: 0.3, seed: 5, ..Path::default() })?;
        // None overtakes another, so that what comes before the first mark is all that comes.
        for number in (0..60u8).chain([MARK; 20]) {
            socket.send(&[number; 10])?;
        }
        let mut datagram = [0; 2048];
        let mut come = Vec::new();
        while socket.recv(&mut datagram).is_ok() && datagram[0] != MARK {
            come.push(datagram[0]);
        }
        Ok(come)
    };
    let first = survivors()?;
    assert!((15..45).contains(&first.len()), "of 60, each with 0.49: {first:?}");
    assert_eq!(first, survivors()?);
    Ok(())
}
