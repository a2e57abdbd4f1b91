//! A receiver says in which order a context comes and how much of it, wants less while it comes, and gets no more than it
//! wants; what it gets decodes to what it should be.

use std::collections::HashMap;
use std::ffi::OsString;

use kvdepot_client::{Client, FetchEvent, FetchRequest, SendOrder, TransportChoice, Wants};
use kvdepot_codec::{Level, SegmentKey, dump::KvDump};
use kvdepot_tests::{Cli, Stored};
use tokio::sync::watch;

/// Segments in the order in which they came: chunk, and key.
type Arrived = Vec<(u32, SegmentKey)>;

/// Fetches, and wants what `steer` says after each event, given the chunk of a segment.
async fn steered(
    client: &Client,
    request: &FetchRequest,
    mut steer: impl FnMut(Option<u32>) -> Option<Wants> + Send,
) -> anyhow::Result<Arrived> {
    let (say, wants) = watch::channel(request.wants);
    let mut arrived = Vec::new();
    let fetch = client.fetch_steered(request, wants, |event| {
        let chunk_idx = match event {
            FetchEvent::Manifest(_) => None,
            FetchEvent::Segment(segment) => {
                arrived.push((segment.chunk_idx, segment.key));
                Some(segment.chunk_idx)
            }
        };
        if let Some(wants) = steer(chunk_idx) {
            say.send_replace(wants);
        }
        Ok(())
    });
    fetch.await?;
    Ok(arrived)
}

#[tokio::test(flavor = "multi_thread")]
async fn leading_quality_layers_come_alone_and_decode_over_either_plane() -> anyhow::Result<()> {
    let stored = Stored::put(Level::Q3).await?;
    for transport in [TransportChoice::Quic, TransportChoice::Grpc] {
        let client = stored.client(transport).await?;
        let mut payload_bytes = Vec::new();
        for qualities in 1..=3 {
            let request = FetchRequest { wants: Wants::new(0, qualities), ..stored.request() };
            let fetched = client.fetch_kv(&request, |_| ()).await?;
            assert!(fetched.chunks == stored.decoded(qualities)?, "{transport:?}, {qualities}");
            payload_bytes.push(fetched.report.payload_bytes);
        }
        assert!(payload_bytes.is_sorted_by(|a, b| a < b), "{payload_bytes:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_fetches_leading_quality_layers_and_refuses_a_number_that_no_level_has() -> anyhow::Result<()> {
    let stored = Stored::put(Level::Q3).await?;
    let client = stored.client(TransportChoice::Quic).await?;
    let id = client.matches(&stored.scope(), &stored.tokens()).await?.chunks[7].id.to_string();
    let out = stored.dir().join("base.safetensors");
    let cli = Cli::of(&stored.depot);
    let get = |qualities: &str| {
        ["get", "--qualities", qualities, &id].map(OsString::from).into_iter().chain([out.clone().into()])
    };
    assert_eq!(cli.json(get("1"))?["tokens"], Stored::NUM_TOKENS);
    let bytes = std::fs::read(&out)?;
    let base = KvDump::parse(&bytes)?;
    for (start, chunk) in (0..).step_by(256).zip(stored.decoded(1)?) {
        assert!(base.chunk(start, chunk.num_tokens())? == chunk, "from token {start}");
    }
    let explained = cli.json(get("2").chain(["--explain".into()]))?["explained"].clone();
    let fetched: u64 =
        explained.as_array().into_iter().flatten().filter_map(|chunk| chunk["payload_bytes"].as_u64()).sum();
    let due: u64 = stored.chunks.iter().map(|chunk| chunk.content().leading(2).stored_bytes()).sum();
    assert_eq!((fetched, &explained[7]["qualities"], &explained[7]["stored_qualities"]), (due, &2.into(), &3.into()));
    for none in ["0", "4"] {
        let refused = cli.run(get(none))?;
        assert!(refused.code == 2 && refused.stderr.contains("--qualities"), "{refused:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_order_brings_every_segment_once() -> anyhow::Result<()> {
    let stored = Stored::put(Level::Q3).await?;
    let client = stored.client(TransportChoice::Quic).await?;
    let all: usize = stored.chunks.iter().map(|chunk| chunk.segments.len()).sum();
    for order in [SendOrder::Chunks, SendOrder::ChunksFromBack, SendOrder::BaseFirstFromBack, SendOrder::Layers] {
        let request = FetchRequest { order, ..stored.request() };
        let arrived = steered(&client, &request, |_| None).await?;
        let counted: HashMap<_, _> = arrived.iter().map(|segment| (*segment, ())).collect();
        assert_eq!((arrived.len(), counted.len()), (all, all), "{order:?}");
        let fetched = client.fetch_kv(&request, |_| ()).await?;
        assert!(fetched.chunks == stored.decoded(3)?, "{order:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_wants_less_gets_what_it_still_wants_and_the_connection_stays_good() -> anyhow::Result<()> {
    let stored = Stored::put(Level::Q3).await?;
    let client = stored.client(TransportChoice::Quic).await?;
    let per_chunk = stored.chunks[0].segments.len();
    for order in [SendOrder::ChunksFromBack, SendOrder::BaseFirstFromBack, SendOrder::Layers] {
        for first_chunk in [1, 5, Stored::NUM_CHUNKS] {
            let request = FetchRequest { order, ..stored.request() };
            let mut manifests = 0;
            let arrived = steered(&client, &request, |chunk_idx| {
                manifests += usize::from(chunk_idx.is_none());
                chunk_idx.is_none().then(|| Wants::new(first_chunk, 0))
            });
            let arrived = arrived.await?;
            assert_eq!(manifests, 1);
            let wanted = arrived.iter().filter(|(chunk_idx, _)| *chunk_idx >= first_chunk).count();
            assert_eq!(wanted, per_chunk * (Stored::NUM_CHUNKS - first_chunk) as usize, "{order:?} from {first_chunk}");
        }
        let fetched = client.fetch_kv(&FetchRequest { order, ..stored.request() }, |_| ()).await?;
        assert!(fetched.chunks == stored.decoded(3)?, "{order:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn refinements_stop_where_the_receiver_says() -> anyhow::Result<()> {
    let stored = Stored::put(Level::Q3).await?;
    let client = stored.client(TransportChoice::Quic).await?;
    let request = FetchRequest { order: SendOrder::BaseFirstFromBack, ..stored.request() };
    let arrived = steered(&client, &request, |chunk_idx| chunk_idx.map(|_| Wants::new(0, 1))).await?;
    let base =
        stored.chunks.iter().flat_map(|chunk| &chunk.segments).filter(|segment| segment.key.quality == 0).count();
    assert_eq!(arrived.iter().filter(|(_, key)| key.quality == 0).count(), base);
    let fetched = client.fetch_kv(&stored.request(), |_| ()).await?;
    assert!(fetched.chunks == stored.decoded(3)?);
    Ok(())
}
