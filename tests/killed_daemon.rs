//! A daemon that is killed in the middle of a transfer and comes back costs time and nothing else: the transfer goes on by
//! itself, nothing comes twice, and nothing half-written is ever visible.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use kvdepot_client::{Client, ConnectOptions, Error, ErrorKind, FetchEvent, TransportChoice};
use kvdepot_codec::SegmentKey;
use kvdepot_tests::{Cli, DepotProcess, Noise};
use tempfile::TempDir;

/// More than the windows of a connection and the queues at both ends hold: a receiver that waits has not got all of it.
const MIB: usize = 160;

/// A daemon that can be killed, and a client.
struct Bench {
    dir: TempDir,
    depot: Option<DepotProcess>,
    client: Client,
    noise: Noise,
}

/// Segments as they were handed over.
type Received = HashMap<(u32, SegmentKey), Bytes>;

impl Bench {
    async fn start(transport: TransportChoice, resume_within: Duration) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let depot = DepotProcess::start(dir.path(), &[])?;
        let options = ConnectOptions { transport, resume_within, ..depot.connect_options() };
        let client = Client::connect(&options).await?;
        Ok(Self { dir, depot: Some(depot), client, noise: Noise::of_mib(MIB, 4)? })
    }

    async fn put(&self) -> anyhow::Result<()> {
        let Noise { tokens, chunks, .. } = &self.noise;
        self.client.put(&self.noise.scope()?, tokens, chunks, |_| ()).await?;
        Ok(())
    }

    /// Fetches, and does something to the daemon at the third segment.
    async fn fetch(
        &mut self,
        mut at_third: impl FnMut(DepotProcess) -> anyhow::Result<Option<DepotProcess>> + Send,
    ) -> anyhow::Result<(kvdepot_client::Result<usize>, Received)> {
        let (request, depot) = (self.noise.request()?, &mut self.depot);
        let (mut received, mut manifests) = (Received::new(), 0);
        let fetch = self.client.fetch(&request, |event| {
            let FetchEvent::Segment(segment) = event else {
                manifests += 1;
                return Ok(());
            };
            let twice = received.insert((segment.chunk_idx, segment.key), segment.bytes.clone());
            assert!(twice.is_none(), "{:?} of chunk {} came twice", segment.key, segment.chunk_idx);
            if received.len() == 3
                && let Some(running) = depot.take()
            {
                *depot = at_third(running).map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
            }
            Ok(())
        });
        let resumed = fetch.await.map(|report| report.resumed);
        assert_eq!(manifests, 1);
        Ok((resumed, received))
    }

    fn assert_whole(&self, received: &Received) {
        let all = (0u32..).zip(&self.noise.chunks);
        let all = all.flat_map(|(idx, chunk)| chunk.segments.iter().map(move |segment| ((idx, segment.key), segment)));
        let all: HashMap<_, _> = all.collect();
        assert_eq!(received.len(), all.len());
        for (name, segment) in all {
            assert!(received.get(&name).is_some_and(|bytes| *bytes == segment.bytes), "{name:?} came back changed");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_goes_on_after_a_restart_and_brings_each_segment_once() -> anyhow::Result<()> {
    for transport in [TransportChoice::Quic, TransportChoice::Grpc] {
        let mut bench = Bench::start(transport, ConnectOptions::DEFAULT_RESUME_WITHIN).await?;
        bench.put().await?;
        let (resumed, received) = bench.fetch(|depot| depot.restart_after_kill9().map(Some)).await?;
        assert_eq!(resumed?, 1, "{transport:?}");
        bench.assert_whole(&received);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_whose_daemon_stays_away_ends_within_its_time() -> anyhow::Result<()> {
    for resume_within in [Duration::ZERO, Duration::from_millis(400)] {
        let mut bench = Bench::start(TransportChoice::Quic, resume_within).await?;
        bench.put().await?;
        let (resumed, received) = bench.fetch(|depot| depot.kill9().map(|()| None)).await?;
        let error = resumed.expect_err("the daemon is gone");
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert_eq!(error.to_string().contains("times more"), !resume_within.is_zero(), "{error}");
        assert!(received.len() >= 3);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_of_a_context_that_went_with_the_daemon_says_so() -> anyhow::Result<()> {
    let mut bench = Bench::start(TransportChoice::Quic, ConnectOptions::DEFAULT_RESUME_WITHIN).await?;
    bench.put().await?;
    let store = bench.dir.path().join("store");
    let (resumed, _) = bench
        .fetch(|depot| {
            let dir = depot.dir().to_owned();
            depot.kill9()?;
            std::fs::remove_dir_all(&store)?;
            DepotProcess::start(&dir, &[]).map(Some)
        })
        .await?;
    assert_eq!(resumed.expect_err("it is gone").kind(), ErrorKind::NotFound);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_put_is_announced_again_after_a_restart_and_nothing_is_visible_before_its_end() -> anyhow::Result<()> {
    for transport in [TransportChoice::Quic, TransportChoice::Grpc] {
        let mut bench = Bench::start(transport, ConnectOptions::DEFAULT_RESUME_WITHIN).await?;
        let Noise { tokens, chunks, .. } = &bench.noise;
        let (scope, half) = (bench.noise.scope()?, bench.noise.stored_bytes() / 2);
        let (mut visible_chunks, depot) = (None, &mut bench.depot);
        let put = bench.client.put(&scope, tokens, chunks, |progress| {
            if progress.sent_bytes > half && visible_chunks.is_none() {
                let running = depot.take().expect("it was started");
                let restarted = running.restart_after_kill9().expect("it starts again");
                visible_chunks = Cli::of(&restarted).json(["status"]).expect("it answers")["chunks"].as_u64();
                *depot = Some(restarted);
            }
        });
        let report = put.await?;
        assert_eq!((report.resumed, report.new_chunks), (1, chunks.len()), "{transport:?}");
        assert_eq!(visible_chunks, Some(0), "half a put");
        let (_, received) = bench.fetch(|depot| Ok(Some(depot))).await?;
        bench.assert_whole(&received);
    }
    Ok(())
}
