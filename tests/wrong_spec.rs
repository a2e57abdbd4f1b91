//! KV of another spec is never a hit: by tokens it is a miss, by id it is refused, over either plane.

use kvdepot_client::{Client, ConnectOptions, ErrorKind, FetchRequest, TransportChoice};
use kvdepot_codec::{Dtype, Level};
use kvdepot_proto::{KvSpec, Scope};
use kvdepot_tests::{DepotProcess, KvSource, spec_of};

const NUM_TOKENS: usize = 600;

#[tokio::test(flavor = "multi_thread")]
async fn another_spec_is_a_miss_by_tokens_and_incompatible_by_id() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let depot = DepotProcess::start(dir.path(), &[])?;
    let source = KvSource::small(Dtype::Bf16, 12)?;
    let (spec, tokens) = (spec_of(source.geometry), source.tokens(NUM_TOKENS));
    let encoded = source.encoded(NUM_TOKENS, Level::Q0)?;
    let client = Client::connect(&depot.connect_options()).await?;
    let ids = client.put(&Scope::exact(spec.clone()), &tokens, &encoded, |_| ()).await?.chunk_ids;
    let others = [
        KvSpec { weights_digest: [0x5b; 32], ..spec.clone() },
        KvSpec { adapter: "lora".to_owned(), ..spec.clone() },
        KvSpec { sliding_window: Some(128), ..spec.clone() },
    ];
    for transport in [TransportChoice::Quic, TransportChoice::Grpc] {
        let client = Client::connect(&ConnectOptions { transport, ..depot.connect_options() }).await?;
        for other in &others {
            let by_tokens = FetchRequest::tokens(Scope::exact(other.clone()), tokens.clone());
            assert_eq!(client.fetch(&by_tokens, |_| Ok(())).await?.chunks, 0, "{transport:?}, {other:?}");
            let by_id = FetchRequest { scope: Some(Scope::exact(other.clone())), ..FetchRequest::chunk(ids[2]) };
            let error = client.fetch(&by_id, |_| Ok(())).await.expect_err("another spec");
            assert_eq!(error.kind(), ErrorKind::Incompatible, "{transport:?}: {error}");
        }
        let request = FetchRequest::tokens(Scope::exact(spec.clone()), tokens.clone());
        assert_eq!(client.fetch(&request, |_| Ok(())).await?.chunks, 3);
    }
    Ok(())
}
