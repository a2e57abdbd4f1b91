//! All quality layers of a context are put together, and all come back; what is no whole chunk is refused.

use kvdepot_client::{Client, EncodedChunk, ErrorKind, FetchRequest, TransportChoice};
use kvdepot_codec::{Dtype, KvChunk, Level, SegmentKey, Side, decode};
use kvdepot_proto::Scope;
use kvdepot_tests::{DepotProcess, KvSource, spec_of};
use tempfile::TempDir;

/// Two whole chunks and a short one.
const NUM_TOKENS: usize = 600;

/// A depot with nothing in it.
struct Bench {
    dir: TempDir,
    depot: DepotProcess,
    source: KvSource,
}

impl Bench {
    fn start() -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let depot = DepotProcess::start(dir.path(), &[])?;
        Ok(Self { dir, depot, source: KvSource::small(Dtype::Bf16, 21)? })
    }

    fn restarted(self) -> anyhow::Result<Self> {
        self.depot.kill9()?;
        Ok(Self { depot: DepotProcess::start(self.dir.path(), &[])?, ..self })
    }

    fn encoded(&self) -> anyhow::Result<Vec<EncodedChunk>> {
        self.source.encoded(NUM_TOKENS, Level::Q3)
    }

    fn scope(&self) -> Scope {
        Scope { lossy: true, ..Scope::exact(spec_of(self.source.geometry)) }
    }

    async fn client(&self, transport: TransportChoice) -> kvdepot_client::Result<Client> {
        let mut options = self.depot.connect_options();
        options.transport = transport;
        Client::connect(&options).await
    }

    async fn put(&self, client: &Client, chunks: &[EncodedChunk]) -> kvdepot_client::Result<()> {
        client.put(&self.scope(), &self.source.tokens(NUM_TOKENS), chunks, |_| ()).await.map(drop)
    }

    /// What the whole context decodes to on this side.
    fn decoded(&self, chunks: &[EncodedChunk]) -> anyhow::Result<Vec<KvChunk>> {
        let whole = self.source.chunks(NUM_TOKENS)?;
        let decode_one = |(chunk, like): (&EncodedChunk, &KvChunk)| {
            let segments = chunk.segments.iter().map(|segment| segment.bytes.as_slice());
            Ok(decode(self.source.geometry, like.num_tokens(), segments)?)
        };
        chunks.iter().zip(&whole).map(decode_one).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_quality_layer_survives_a_kill_and_comes_back_over_either_plane() -> anyhow::Result<()> {
    let bench = Bench::start()?;
    let chunks = bench.encoded()?;
    let quality_layers = Side::BOTH.map(|side| usize::from(Level::Q3.qualities(side))).iter().sum::<usize>();
    assert!(chunks.iter().all(|chunk| chunk.segments.len() == bench.source.geometry.num_layers() * quality_layers));
    bench.put(&bench.client(TransportChoice::Quic).await?, &chunks).await?;
    let bench = bench.restarted()?;
    for transport in [TransportChoice::Quic, TransportChoice::Grpc] {
        let client = bench.client(transport).await?;
        let request = FetchRequest::tokens(bench.scope(), bench.source.tokens(NUM_TOKENS));
        let fetched = client.fetch_kv(&request, |_| ()).await?;
        assert_eq!(fetched.report.segments, chunks.iter().map(|chunk| chunk.segments.len()).sum::<usize>());
        assert!(fetched.chunks == bench.decoded(&chunks)?, "{transport:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_put_that_lacks_a_quality_layer_is_refused_with_the_one_that_is_missing() -> anyhow::Result<()> {
    const K0: SegmentKey = SegmentKey { quality: 0, layer_group: 2, side: Side::K };
    let bench = Bench::start()?;
    let whole = bench.encoded()?;
    for transport in [TransportChoice::Quic, TransportChoice::Grpc] {
        let client = bench.client(transport).await?;
        for (missing, words) in [
            (K0, "quality layer 1 of K of layer group 2 without layer 0 below it"),
            (SegmentKey { quality: 1, ..K0 }, "quality layer 2 of K of layer group 2 without layer 1 below it"),
            (SegmentKey { quality: 2, ..K0 }, "K of layer group 2 has 2 of 3 quality layers"),
            (SegmentKey { quality: 1, side: Side::V, ..K0 }, "V of layer group 2 has 1 of 2 quality layers"),
        ] {
            let mut chunks = whole.clone();
            chunks[1].segments.retain(|segment| segment.key != missing);
            let error = bench.put(&client, &chunks).await.expect_err("a layer is missing");
            assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
            assert!(error.to_string().contains(words), "{error}");
        }
        assert_eq!(client.usage().await?.stored_bytes, 0);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_segment_under_the_name_of_another_quality_layer_is_refused() -> anyhow::Result<()> {
    let bench = Bench::start()?;
    for transport in [TransportChoice::Quic, TransportChoice::Grpc] {
        let client = bench.client(transport).await?;
        let mut chunks = bench.encoded()?;
        let segments = &mut chunks[1].segments;
        let refinement = segments.iter().position(|segment| segment.key.quality == 1).unwrap_or_default();
        segments[refinement].bytes = segments[0].bytes.clone();
        let error = bench.put(&client, &chunks).await.expect_err("not what its key says");
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert!(error.to_string().contains("quality: 0") && error.to_string().contains("quality: 1"), "{error}");
        assert_eq!(client.usage().await?.stored_bytes, 0);
    }
    Ok(())
}
