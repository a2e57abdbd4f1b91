//! A transfer that stops leaves the client usable and its whole chunks good: the next one continues from there.

use std::sync::Arc;

use kvdepot_client::{Client, Error, ErrorKind, FetchEvent, FetchRequest, TransportChoice};
use kvdepot_codec::{Dtype, Level};
use kvdepot_proto::Scope;
use kvdepot_tests::{DepotProcess, KvSource, spec_of};
use tempfile::TempDir;
use tokio::sync::Notify;

const NUM_TOKENS: usize = 2000;

/// A depot with one context in it, and a client.
struct Stored {
    _dir: TempDir,
    depot: DepotProcess,
    client: Client,
    source: KvSource,
}

impl Stored {
    async fn put(transport: TransportChoice) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let depot = DepotProcess::start(dir.path(), &[])?;
        let mut options = depot.connect_options();
        options.transport = transport;
        let client = Client::connect(&options).await?;
        let source = KvSource::small(Dtype::Bf16, 5)?;
        let chunks = source.encoded(NUM_TOKENS, Level::Q0)?;
        let scope = Scope::exact(spec_of(source.geometry));
        client.put(&scope, &source.tokens(NUM_TOKENS), &chunks, |_| ()).await?;
        Ok(Self { _dir: dir, depot, client, source })
    }

    fn request(&self) -> FetchRequest {
        FetchRequest::tokens(Scope::exact(spec_of(self.source.geometry)), self.source.tokens(NUM_TOKENS))
    }

    async fn assert_whole(&self) -> anyhow::Result<()> {
        let fetched = self.client.fetch_kv(&self.request(), |_| ()).await?;
        assert_eq!(fetched.chunks, self.source.chunks(NUM_TOKENS)?);
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_skips_the_chunks_that_the_caller_holds() -> anyhow::Result<()> {
    for transport in [TransportChoice::Quic, TransportChoice::Grpc] {
        let stored = Stored::put(transport).await?;
        let request = FetchRequest { skip_chunks: 5, ..stored.request() };
        let fetched = stored.client.fetch_kv(&request, |_| ()).await?;
        assert_eq!(fetched.chunks, stored.source.chunks(NUM_TOKENS)?[5..]);
        assert_eq!(fetched.manifest.tokens, stored.source.tokens(NUM_TOKENS)[5 * 256..]);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_that_its_caller_refuses_leaves_the_client_usable() -> anyhow::Result<()> {
    for transport in [TransportChoice::Quic, TransportChoice::Grpc] {
        let stored = Stored::put(transport).await?;
        let refuse = |event: FetchEvent<'_>| match event {
            FetchEvent::Manifest(_) => Ok(()),
            FetchEvent::Segment(_) => Err(Error::new(ErrorKind::Busy, "enough")),
        };
        let error = stored.client.fetch(&stored.request(), refuse).await.expect_err("refused");
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Busy, "enough"));
        stored.assert_whole().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_that_is_dropped_leaves_the_client_usable() -> anyhow::Result<()> {
    for transport in [TransportChoice::Quic, TransportChoice::Grpc] {
        let stored = Stored::put(transport).await?;
        let begun = Arc::new(Notify::new());
        let request = stored.request();
        let fetch = stored.client.fetch(&request, |_| {
            begun.notify_one();
            Ok(())
        });
        tokio::select! {
            biased;
            () = begun.notified() => {}
            fetched = fetch => drop(fetched?),
        }
        stored.assert_whole().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_dies_and_comes_back_is_found_again() -> anyhow::Result<()> {
    let stored = Stored::put(TransportChoice::Quic).await?;
    stored.assert_whole().await?;
    let Stored { _dir: dir, depot, client, source } = stored;
    depot.kill9()?;
    let error = client.usage().await.expect_err("the daemon is dead");
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    let depot = DepotProcess::start(dir.path(), &[])?;
    Stored { _dir: dir, depot, client, source }.assert_whole().await
}
