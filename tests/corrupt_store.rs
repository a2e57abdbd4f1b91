//! A stored segment that is no longer what was put is never given out: the fetch ends as corrupt, the next one is a shorter
//! prefix, and another put heals it.

use std::path::Path;

use anyhow::ensure;
use kvdepot_client::{Client, ConnectOptions, ErrorKind, FetchRequest, TransportChoice};
use kvdepot_codec::{Dtype, Level};
use kvdepot_proto::Scope;
use kvdepot_tests::{DepotProcess, KvSource, spec_of};

const NUM_TOKENS: usize = 2000;

/// Changes a bit of a segment wherever the files of a store have it.
fn damage(store: &Path, segment: &[u8]) -> anyhow::Result<()> {
    let needle = &segment[segment.len() / 2..][..64];
    let mut damaged = 0;
    for entry in std::fs::read_dir(store)? {
        let path = entry?.path();
        if !path.extension().is_some_and(|extension| extension == "blob" || extension == "sst") {
            continue;
        }
        let mut bytes = std::fs::read(&path)?;
        if let Some(at) = bytes.windows(needle.len()).position(|window| window == needle) {
            bytes[at] ^= 1;
            std::fs::write(&path, bytes)?;
            damaged += 1;
        }
    }
    ensure!(damaged > 0, "no file of {} has the segment", store.display());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_segment_damaged_on_disk_ends_the_fetch_then_shortens_the_prefix_until_it_is_put_again() -> anyhow::Result<()>
{
    for (transport, damaged_chunk) in [(TransportChoice::Quic, 5), (TransportChoice::Grpc, 2)] {
        let dir = tempfile::tempdir()?;
        let source = KvSource::small(Dtype::Bf16, 8)?;
        let (scope, tokens) = (Scope::exact(spec_of(source.geometry)), source.tokens(NUM_TOKENS));
        let (chunks, encoded) = (source.chunks(NUM_TOKENS)?, source.encoded(NUM_TOKENS, Level::Q0)?);
        let depot = DepotProcess::start(dir.path(), &[])?;
        Client::connect(&depot.connect_options()).await?.put(&scope, &tokens, &encoded, |_| ()).await?;
        // What was in the log goes to its place at the next start.
        depot.terminate()?;
        DepotProcess::start(dir.path(), &[])?.terminate()?;
        damage(&dir.path().join("store"), &encoded[damaged_chunk].segments[1].bytes)?;
        let depot = DepotProcess::start(dir.path(), &[])?;
        let client = Client::connect(&ConnectOptions { transport, ..depot.connect_options() }).await?;
        let request = FetchRequest::tokens(scope.clone(), tokens.clone());
        let error = client.fetch_kv(&request, |_| ()).await.expect_err("a segment is damaged");
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        let prefix = client.fetch_kv(&request, |_| ()).await?;
        assert!(prefix.chunks == chunks[..damaged_chunk], "{} chunks", prefix.chunks.len());
        let healed = client.put(&scope, &tokens, &encoded, |_| ()).await?;
        assert_eq!(healed.new_chunks, chunks.len() - damaged_chunk);
        assert!(client.fetch_kv(&request, |_| ()).await?.chunks == chunks);
    }
    Ok(())
}
