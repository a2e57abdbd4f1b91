//! A receiver on the depot's host fetches through shared memory: the same content and the same refusals as over the other planes.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use anyhow::Context;
use kvdepot_client::{Client, ErrorKind, FetchEvent, FetchRequest, SendOrder, Transport, TransportChoice, Wants};
use kvdepot_codec::{Dtype, Level};
use kvdepot_proto::{ChunkId, Scope, data_dir::LOCAL_SOCKET};
use kvdepot_tests::{Cli, DepotProcess, KvSource, spec_of};
use tempfile::TempDir;
use tokio::sync::{Notify, watch};

/// Seven whole chunks and a short one.
const NUM_TOKENS: usize = 2000;
const NUM_CHUNKS: u32 = 8;

const PLANES: [(TransportChoice, Transport); 4] = [
    (TransportChoice::Auto, Transport::Local),
    (TransportChoice::Local, Transport::Local),
    (TransportChoice::Quic, Transport::Quic),
    (TransportChoice::Grpc, Transport::Grpc),
];

/// A depot with one context of q3 in it.
struct Stored {
    dir: TempDir,
    depot: DepotProcess,
    source: KvSource,
}

impl Stored {
    async fn put() -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let depot = DepotProcess::start(&dir.path().join("depot"), &[])?;
        let stored = Self { dir, depot, source: KvSource::small(Dtype::Bf16, 51)? };
        let chunks = stored.source.encoded(NUM_TOKENS, Level::Q3)?;
        let client = stored.client(TransportChoice::Local).await?;
        client.put(&stored.scope(), &stored.source.tokens(NUM_TOKENS), &chunks, |_| ()).await?;
        Ok(stored)
    }

    async fn client(&self, transport: TransportChoice) -> kvdepot_client::Result<Client> {
        let mut options = self.depot.connect_options();
        options.transport = transport;
        Client::connect(&options).await
    }

    fn scope(&self) -> Scope {
        Scope { lossy: true, ..Scope::exact(spec_of(self.source.geometry)) }
    }

    async fn last_chunk(&self) -> anyhow::Result<ChunkId> {
        let (client, tokens) = (self.client(TransportChoice::Auto).await?, self.source.tokens(NUM_TOKENS));
        let found = client.matches(&self.scope(), &tokens).await?;
        found.chunks.last().map(|chunk| chunk.id).context("stored")
    }

    fn request(&self) -> FetchRequest {
        FetchRequest::tokens(self.scope(), self.source.tokens(NUM_TOKENS))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_plane_brings_the_same_content() -> anyhow::Result<()> {
    let stored = Stored::put().await?;
    for order in [SendOrder::Chunks, SendOrder::BaseFirstFromBack, SendOrder::Layers] {
        for wants in [Wants::default(), Wants::new(0, 1)] {
            let request = FetchRequest { order, wants, ..stored.request() };
            let mut contents = Vec::new();
            for (choice, transport) in PLANES {
                let fetched = stored.client(choice).await?.fetch_kv(&request, |_| ()).await?;
                assert_eq!(fetched.report.transport, transport, "{choice:?}");
                contents.push((fetched.manifest, fetched.chunks));
            }
            assert!(contents.windows(2).all(|pair| pair[0] == pair[1]), "{order:?}, {wants:?}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_plane_refuses_the_same() -> anyhow::Result<()> {
    let stored = Stored::put().await?;
    let elsewhere = FetchRequest::tokens(
        Scope { namespace: "other".to_owned(), ..stored.scope() },
        stored.source.tokens(NUM_TOKENS),
    );
    let last = stored.last_chunk().await?;
    let exact =
        FetchRequest { scope: Some(Scope::exact(spec_of(stored.source.geometry))), ..FetchRequest::chunk(last) };
    for (choice, _) in PLANES {
        let client = stored.client(choice).await?;
        assert_eq!(client.fetch_kv(&elsewhere, |_| ()).await?.chunks, [], "{choice:?}");
        let absent = FetchRequest::chunk(ChunkId::new([7; 32]));
        let kinds = [client.fetch_kv(&absent, |_| ()).await, client.fetch_kv(&exact, |_| ()).await]
            .map(|outcome| outcome.expect_err("refused").kind());
        assert_eq!(kinds, [ErrorKind::NotFound, ErrorKind::Incompatible], "{choice:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_wants_less_gets_all_that_it_still_wants() -> anyhow::Result<()> {
    let stored = Stored::put().await?;
    let client = stored.client(TransportChoice::Local).await?;
    for first_chunk in [1, 5, NUM_CHUNKS] {
        let request = FetchRequest { order: SendOrder::ChunksFromBack, ..stored.request() };
        let (say, wants) = watch::channel(request.wants);
        let (mut wanted, mut due) = (0, 0);
        let fetch = client.fetch_steered(&request, wants, |event| {
            match event {
                FetchEvent::Manifest(manifest) => {
                    let chunks = manifest.chunks.iter().skip(first_chunk as usize);
                    due = chunks.map(|chunk| chunk.content.segments.len()).sum();
                    say.send_replace(Wants::new(first_chunk, 0));
                }
                FetchEvent::Segment(segment) => wanted += usize::from(segment.chunk_idx >= first_chunk),
            }
            Ok(())
        });
        fetch.await?;
        assert_eq!(wanted, due, "from {first_chunk}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_that_is_dropped_harms_no_other() -> anyhow::Result<()> {
    let stored = Stored::put().await?;
    let client = stored.client(TransportChoice::Local).await?;
    for _ in 0..3 {
        let (begun, request) = (Arc::new(Notify::new()), stored.request());
        let fetch = client.fetch(&request, |_| {
            begun.notify_one();
            Ok(())
        });
        tokio::select! {
            biased;
            () = begun.notified() => {}
            fetched = fetch => drop(fetched?),
        }
    }
    let fetched = client.fetch_kv(&stored.request(), |_| ()).await?;
    assert_eq!(fetched.chunks.len(), NUM_CHUNKS as usize);
    stored.depot.terminate()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_socket_a_fetch_goes_over_quic_unless_it_may_not() -> anyhow::Result<()> {
    let stored = Stored::put().await?;
    let socket = stored.depot.dir().join(LOCAL_SOCKET);
    assert_eq!(std::fs::metadata(&socket)?.permissions().mode() & 0o777, 0o600, "for its owner only");
    std::fs::remove_file(&socket)?;
    let fetched = stored.client(TransportChoice::Auto).await?.fetch_kv(&stored.request(), |_| ()).await?;
    assert_eq!(fetched.report.transport, Transport::Quic);
    let refused = stored.client(TransportChoice::Local).await?.fetch_kv(&stored.request(), |_| ()).await;
    assert_eq!(refused.expect_err("no socket").kind(), ErrorKind::Unavailable);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_says_which_plane_it_took() -> anyhow::Result<()> {
    let stored = Stored::put().await?;
    let id = stored.last_chunk().await?.to_string();
    let out = stored.dir.path().join("out.safetensors");
    for (transport, taken) in [("auto", "local"), ("local", "local"), ("quic", "quic"), ("grpc", "grpc")] {
        let cli = Cli::of(&stored.depot).with(["--transport", transport]);
        let fetched = cli.json(["get".as_ref(), id.as_ref(), out.as_os_str()])?;
        assert_eq!(fetched["transport"], taken);
    }
    Ok(())
}
