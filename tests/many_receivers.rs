//! Many receivers at once: what they share is read once, all of them end, and the daemon's memory stays below its bound.

use std::sync::Arc;

use kvdepot_client::{Client, FetchRequest, TransportChoice};
use kvdepot_codec::{Dtype, Geometry, Level};
use kvdepot_proto::Scope;
use kvdepot_tests::{DepotProcess, KvSource, spec_of};
use tempfile::TempDir;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

const NUM_TOKENS: usize = 2048;
const MIB: u64 = 1 << 20;
/// Receivers that fetch.
const BUSY: u64 = 64;
/// Receivers that only keep their connection.
const IDLE: u64 = 136;
const CACHE_BYTES: u64 = 4 * MIB;
const UNDER_WAY_BYTES: u64 = 16 * MIB;

/// A depot with one context in it.
struct Stored {
    _dir: TempDir,
    depot: DepotProcess,
    request: FetchRequest,
    segments: u64,
    payload_bytes: u64,
    largest_chunk_bytes: u64,
}

impl Stored {
    async fn put(geometry: Geometry, settings: &[(&str, &str)]) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let depot = DepotProcess::start(dir.path(), settings)?;
        let source = KvSource { geometry, seed: 64 };
        let chunks = source.encoded(NUM_TOKENS, Level::Q0)?;
        let scope = Scope::exact(spec_of(geometry));
        let client = Client::connect(&depot.connect_options()).await?;
        client.put(&scope, &source.tokens(NUM_TOKENS), &chunks, |_| ()).await?;
        let chunk_bytes = chunks.iter().map(|chunk| chunk.content().stored_bytes());
        Ok(Self {
            _dir: dir,
            depot,
            request: FetchRequest::tokens(scope, source.tokens(NUM_TOKENS)),
            segments: chunks.iter().map(|chunk| chunk.segments.len() as u64).sum(),
            payload_bytes: chunk_bytes.clone().sum(),
            largest_chunk_bytes: chunk_bytes.max().unwrap_or_default(),
        })
    }

    async fn client(&self, transport: TransportChoice) -> anyhow::Result<Client> {
        let mut options = self.depot.connect_options();
        options.transport = transport;
        Ok(Client::connect(&options).await?)
    }

    /// Fetches by so many receivers, which begin together and each get everything.
    async fn fetch_at_once(&self, transport: TransportChoice, receivers: u64) -> anyhow::Result<()> {
        let begin = Arc::new(Barrier::new(usize::try_from(receivers)?));
        let mut fetches = JoinSet::new();
        for _ in 0..receivers {
            let (client, request, begin) = (self.client(transport).await?, self.request.clone(), Arc::clone(&begin));
            fetches.spawn(async move {
                begin.wait().await;
                client.fetch(&request, |_| Ok(())).await
            });
        }
        while let Some(fetched) = fetches.join_next().await {
            let report = fetched??;
            assert_eq!((report.segments as u64, report.payload_bytes), (self.segments, self.payload_bytes));
        }
        Ok(())
    }

    /// Counts the peak of the daemon's memory from now on.
    fn forget_peak(&self) -> anyhow::Result<()> {
        Ok(std::fs::write(format!("/proc/{}/clear_refs", self.depot.endpoints().pid), "5")?)
    }

    /// Memory of the daemon that is in use, or was at most, in bytes.
    fn memory_bytes(&self, which: &str) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.depot.endpoints().pid))?;
        let line = status.lines().find_map(|line| line.strip_prefix(which)).unwrap_or_default();
        let kib: u64 = line.trim_matches([':', '\t', ' ', 'k', 'B']).parse()?;
        Ok(kib << 10)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn receivers_of_the_same_prefix_at_once_cost_one_read_of_it() -> anyhow::Result<()> {
    for transport in [TransportChoice::Quic, TransportChoice::Local, TransportChoice::Grpc] {
        let stored = Stored::put(Geometry::new(4, 2, 64, Dtype::Bf16)?, &[]).await?;
        let client = stored.client(transport).await?;
        assert_eq!(client.usage().await?.segment_reads, 0);
        stored.fetch_at_once(transport, 16).await?;
        let usage = client.usage().await?;
        assert_eq!(
            (usage.segment_reads, usage.cached_bytes >= stored.payload_bytes),
            (stored.segments, true),
            "{transport:?}"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_context_is_not_fetched_out_of_memory() -> anyhow::Result<()> {
    let stored = Stored::put(Geometry::new(4, 2, 64, Dtype::Bf16)?, &[]).await?;
    let client = stored.client(TransportChoice::Quic).await?;
    client.fetch(&stored.request, |_| Ok(())).await?;
    let contexts = client.contexts().next().await?.unwrap_or_default();
    let ids: Vec<_> = contexts.iter().map(|context| context.id).collect();
    client.delete(&ids, kvdepot_client::Extent::Context).await?;
    assert_eq!(client.usage().await?.cached_bytes, 0);
    for transport in [TransportChoice::Quic, TransportChoice::Local, TransportChoice::Grpc] {
        assert_eq!(stored.client(transport).await?.fetch(&stored.request, |_| Ok(())).await?.chunks, 0);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn many_idle_and_busy_receivers_end_within_the_memory_that_is_promised() -> anyhow::Result<()> {
    let [cache, under_way] = [CACHE_BYTES, UNDER_WAY_BYTES].map(|bytes| bytes.to_string());
    let settings = [("store.cache_bytes", cache.as_str()), ("quic.max_under_way_bytes", under_way.as_str())];
    let stored = Stored::put(Geometry::new(4, 8, 128, Dtype::Bf16)?, &settings).await?;
    stored.forget_peak()?;
    let before = stored.memory_bytes("VmRSS")?;
    let mut idle = Vec::new();
    let miss = FetchRequest { skip_chunks: u32::MAX, ..stored.request.clone() };
    for _ in 0..IDLE {
        let client = stored.client(TransportChoice::Quic).await?;
        client.fetch(&miss, |_| Ok(())).await?;
        idle.push(client);
    }
    stored.fetch_at_once(TransportChoice::Quic, BUSY).await?;
    let grown = stored.memory_bytes("VmHWM")?.saturating_sub(before);
    let promised = CACHE_BYTES + UNDER_WAY_BYTES + BUSY * stored.largest_chunk_bytes + (IDLE + BUSY) * MIB / 2;
    println!("{grown} bytes more, {promised} promised, {} asked for", BUSY * stored.payload_bytes);
    assert!(grown < promised);
    for client in idle {
        assert_eq!(client.fetch(&miss, |_| Ok(())).await?.segments, 0, "still connected");
    }
    Ok(())
}
