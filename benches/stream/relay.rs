//! `kvdepot-relay`: a path of any delay and loss, as a program, for `scripts/bench-stream`.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use clap::Parser;
use kvdepot_tests::{Path, Relay};

/// Passes datagrams between clients and a daemon, late and not all, until its standard input ends.
#[derive(Parser)]
#[command(name = "kvdepot-relay")]
struct Args {
    /// Where clients send to; port 0 takes a free one. It is printed
    #[arg(long, value_name = "IP:PORT")]
    near: SocketAddr,
    /// The daemon's data plane
    #[arg(long, value_name = "IP:PORT")]
    target: SocketAddr,
    /// Milliseconds that each direction takes
    #[arg(long, value_name = "N", default_value_t = 0.0)]
    delay_ms: f64,
    /// Share of datagrams that are lost in each direction
    #[arg(long, value_name = "0 TO 1", default_value_t = 0.0)]
    loss: f64,
    /// What the losses are drawn from
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Larger datagrams are dropped
    #[arg(long, value_name = "BYTES", default_value_t = 65_507)]
    max_datagram: usize,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let path = Path {
        delay: Duration::try_from_secs_f64(args.delay_ms / 1e3)?,
        loss: args.loss,
        seed: args.seed,
        max_datagram_bytes: args.max_datagram,
        ..Path::default()
    };
    let relay = Relay::listen(args.near, args.target, path)?;
    println!("{}", relay.address());
    std::io::stdout().flush()?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
