//! A client that knows its depot asks the control plane nothing before a transfer: a fetch is one round trip. It notices all the
//! same when the daemon is another one.

use std::time::Duration;

use kvdepot_client::{Client, ConnectOptions, TransportChoice};
use kvdepot_codec::Level;
use kvdepot_proto::data_dir;
use kvdepot_tests::{ControlTap, Stored};

/// Fetches in a row. A client asks about the daemon when nothing comes for a while, which a busy machine may make it do; not
/// each time.
const FETCHES: usize = 10;

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_on_a_warm_client_asks_the_control_plane_nothing() -> anyhow::Result<()> {
    let stored = Stored::put(Level::Q3).await?;
    let tap = ControlTap::start(&stored.dir().join("tap.sock"), &stored.depot.dir().join(data_dir::SOCKET))?;
    for transport in [TransportChoice::Quic, TransportChoice::Local] {
        let client = Client::connect(&ConnectOptions { url: tap.url(), ..stored.options(transport) }).await?;
        let cold = tap.requests();
        client.fetch_kv(&stored.request(), |_| ()).await?;
        let warm = tap.requests();
        assert!(warm > cold, "{transport:?}: the first one has to ask where the depot is");
        for _ in 0..FETCHES {
            client.fetch_kv(&stored.request(), |_| ()).await?;
            assert_eq!(client.chunk_tokens().await?, 256);
        }
        let asked = tap.requests() - warm;
        assert!(asked < FETCHES / 2, "{transport:?}: {asked} requests for {FETCHES} fetches");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_was_restarted_between_transfers_is_found_by_who_never_tries_again() -> anyhow::Result<()> {
    for transport in [TransportChoice::Quic, TransportChoice::Local, TransportChoice::Auto] {
        let stored = Stored::put(Level::Q3).await?;
        let options = ConnectOptions { resume_within: Duration::ZERO, ..stored.options(transport) };
        let client = Client::connect(&options).await?;
        client.fetch_kv(&stored.request(), |_| ()).await?;
        let stored = stored.restarted()?;
        let fetched = client.fetch_kv(&stored.request(), |_| ()).await?;
        assert!(fetched.chunks == stored.decoded(3)?, "{transport:?}");
        let stored = stored.restarted()?;
        let put = client.put(&stored.scope(), &stored.tokens(), &stored.chunks, |_| ()).await?;
        assert_eq!(put.new_chunks, 0, "{transport:?}: it was stored before");
    }
    Ok(())
}
