//! A receiver on the depot's host fetches through shared memory: the same content and the same refusals as over the other planes.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use anyhow::Context;
use kvdepot_client::{ErrorKind, FetchEvent, FetchRequest, SendOrder, Transport, TransportChoice, Wants};
use kvdepot_codec::Level;
use kvdepot_proto::{ChunkId, Scope, data_dir::LOCAL_SOCKET};
use kvdepot_tests::{Cli, Stored, spec_of};
use tokio::sync::{Notify, watch};

const PLANES: [(TransportChoice, Transport); 4] = [
    (TransportChoice::Auto, Transport::Local),
    (TransportChoice::Local, Transport::Local),
    (TransportChoice::Quic, Transport::Quic),
    (TransportChoice::Grpc, Transport::Grpc),
];

async fn last_chunk(stored: &Stored) -> anyhow::Result<ChunkId> {
    let client = stored.client(TransportChoice::Auto).await?;
    let found = client.matches(&stored.scope(), &stored.tokens()).await?;
    found.chunks.last().map(|chunk| chunk.id).context("stored")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_plane_brings_the_same_content() -> anyhow::Result<()> {
    let stored = Stored::put(Level::Q3).await?;
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
    let stored = Stored::put(Level::Q3).await?;
    let elsewhere = FetchRequest::tokens(Scope { namespace: "other".to_owned(), ..stored.scope() }, stored.tokens());
    let last = last_chunk(&stored).await?;
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
    let stored = Stored::put(Level::Q3).await?;
    let client = stored.client(TransportChoice::Local).await?;
    for first_chunk in [1, 5, Stored::NUM_CHUNKS] {
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
    let stored = Stored::put(Level::Q3).await?;
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
    assert_eq!(fetched.chunks.len(), Stored::NUM_CHUNKS as usize);
    stored.depot.terminate()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_socket_a_fetch_goes_over_quic_unless_it_may_not() -> anyhow::Result<()> {
    let stored = Stored::put(Level::Q3).await?;
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
    let stored = Stored::put(Level::Q3).await?;
    let id = last_chunk(&stored).await?.to_string();
    let out = stored.dir().join("out.safetensors");
    for (transport, taken) in [("auto", "local"), ("local", "local"), ("quic", "quic"), ("grpc", "grpc")] {
        let cli = Cli::of(&stored.depot).with(["--transport", transport]);
        let fetched = cli.json(["get".as_ref(), id.as_ref(), out.as_os_str()])?;
        assert_eq!(fetched["transport"], taken);
    }
    Ok(())
}
