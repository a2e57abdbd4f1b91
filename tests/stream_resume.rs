//! A transfer that stops leaves the client usable and its whole chunks good: the next one continues from there.

use std::sync::Arc;

use kvdepot_client::{Client, Error, ErrorKind, FetchEvent, FetchRequest, TransportChoice};
use kvdepot_codec::Level;
use kvdepot_tests::Stored;
use tokio::sync::Notify;

async fn assert_whole(client: &Client, stored: &Stored) -> anyhow::Result<()> {
    let fetched = client.fetch_kv(&stored.request(), |_| ()).await?;
    assert_eq!(fetched.chunks, stored.whole()?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_skips_the_chunks_that_the_caller_holds() -> anyhow::Result<()> {
    for transport in [TransportChoice::Quic, TransportChoice::Grpc] {
        let stored = Stored::put(Level::Q0).await?;
        let client = stored.client(transport).await?;
        let request = FetchRequest { skip_chunks: 5, ..stored.request() };
        let fetched = client.fetch_kv(&request, |_| ()).await?;
        assert_eq!(fetched.chunks, stored.whole()?[5..]);
        assert_eq!(fetched.manifest.tokens, stored.tokens()[5 * 256..]);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_that_its_caller_refuses_leaves_the_client_usable() -> anyhow::Result<()> {
    for transport in [TransportChoice::Quic, TransportChoice::Grpc] {
        let stored = Stored::put(Level::Q0).await?;
        let client = stored.client(transport).await?;
        let refuse = |event: FetchEvent<'_>| match event {
            FetchEvent::Manifest(_) => Ok(()),
            FetchEvent::Segment(_) => Err(Error::new(ErrorKind::Busy, "enough")),
        };
        let error = client.fetch(&stored.request(), refuse).await.expect_err("refused");
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Busy, "enough"));
        assert_whole(&client, &stored).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_that_is_dropped_leaves_the_client_usable() -> anyhow::Result<()> {
    for transport in [TransportChoice::Quic, TransportChoice::Grpc] {
        let stored = Stored::put(Level::Q0).await?;
        let client = stored.client(transport).await?;
        let begun = Arc::new(Notify::new());
        let request = stored.request();
        let fetch = client.fetch(&request, |_| {
            begun.notify_one();
            Ok(())
        });
        tokio::select! {
            biased;
            () = begun.notified() => {}
            fetched = fetch => drop(fetched?),
        }
        assert_whole(&client, &stored).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_dies_and_comes_back_is_found_again() -> anyhow::Result<()> {
    let stored = Stored::put(Level::Q0).await?;
    let client = stored.client(TransportChoice::Quic).await?;
    assert_whole(&client, &stored).await?;
    let stored = stored.restarted()?;
    assert_whole(&client, &stored).await
}
