//! The control plane as a client sees it, over both of its transports.

use std::os::unix::fs::PermissionsExt;

use kvdepot_proto::v1::admin_client::AdminClient;
use kvdepot_proto::v1::depot_client::DepotClient;
use kvdepot_proto::v1::{get_response, put_request};
use kvdepot_proto::{Manifest, PieceAssembly, ReceivedSegment, v1};
use tempfile::tempdir;
use tonic::Code;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::daemon::Daemon;
use crate::testing::*;

async fn over_unix(daemon: &Daemon) -> Channel {
    let uri = format!("unix:{}", daemon.endpoints().socket.display());
    Endpoint::from_shared(uri).unwrap().connect().await.unwrap()
}

async fn over_tls(daemon: &Daemon) -> Channel {
    let ca = tonic::transport::Certificate::from_pem(std::fs::read(&daemon.endpoints().ca).unwrap());
    let tls = ClientTlsConfig::new().ca_certificate(ca).domain_name("localhost");
    let endpoint = Endpoint::from_shared(format!("https://{}", daemon.endpoints().grpc)).unwrap();
    endpoint.tls_config(tls).unwrap().connect().await.unwrap()
}

fn put_messages(context: &Context) -> Vec<v1::PutRequest> {
    let mut messages = vec![put_request::Message::Announce(announcement(context, 0))];
    for segment in &context.segments {
        // Pieces that do not divide the segment.
        messages.extend(segment.bytes.chunks(100).map(|piece| {
            put_request::Message::Piece(v1::SegmentPiece {
                chunk_idx: segment.chunk_idx,
                key: Some(segment.key.into()),
                payload: segment.bytes.slice_ref(piece),
            })
        }));
    }
    messages.into_iter().map(|message| v1::PutRequest { message: Some(message) }).collect()
}

async fn get(client: &mut DepotClient<Channel>, request: v1::FetchRequest) -> (Manifest, Vec<ReceivedSegment>) {
    let mut messages = client.get(request).await.unwrap().into_inner();
    let Some(get_response::Message::Manifest(manifest)) = messages.message().await.unwrap().unwrap().message else {
        panic!("the manifest comes first");
    };
    let manifest = Manifest::try_from(manifest).unwrap();
    let contents = (0u32..).zip(manifest.chunks.iter().map(|chunk| &chunk.content));
    let mut pieces = PieceAssembly::new(kvdepot_proto::Assembly::new(contents));
    let mut segments = Vec::new();
    while let Some(response) = messages.message().await.unwrap() {
        let Some(get_response::Message::Piece(piece)) = response.message else { panic!("pieces follow") };
        segments.extend(pieces.push(piece).unwrap());
    }
    assert!(pieces.is_complete());
    (manifest, segments)
}

async fn put_match_get_delete(channel: Channel, context: &Context) {
    let mut client = DepotClient::new(channel);
    let ack = client.put(tokio_stream::iter(put_messages(context))).await.unwrap().into_inner();
    assert_eq!((ack.new_chunks, ack.new_bytes), (3, context.stored_bytes()));
    let again = client.put(tokio_stream::iter(put_messages(context))).await.unwrap().into_inner();
    assert_eq!((again.new_chunks, again.chunk_ids), (0, ack.chunk_ids.clone()));
    let request = v1::MatchRequest {
        scope: Some((&context.announce.scope).into()),
        tokens: [context.announce.tokens.clone(), vec![1, 2, 3]].concat(),
        lease_ms: u32::MAX,
    };
    let matched = client.r#match(request).await.unwrap().into_inner();
    assert_eq!((matched.matched_tokens, matched.chunk_tokens, matched.chunks.len()), (80, CHUNK_TOKENS, 3));
    assert_eq!(matched.miss_reason, "no chunk for tokens 80..83");
    assert_eq!(matched.lease_ms, 600_000, "the longest that there is");
    let (manifest, segments) = get(&mut client, fetch_request(context, 0)).await;
    assert_eq!((manifest.tokens, segments), (context.announce.tokens.clone(), context.segments.clone()));
    let absent = vec![9; 32];
    let request = v1::StatRequest { chunk_ids: vec![ack.chunk_ids[2].clone(), absent] };
    let stats = client.stat(request).await.unwrap().into_inner().chunks;
    assert_eq!((stats[0].stored, stats[0].num_tokens, stats[1].stored), (true, 16, false));
    let request = v1::DeleteRequest { chunk_ids: vec![ack.chunk_ids[2].clone()], extent: 0 };
    assert_eq!(client.delete(request).await.unwrap().into_inner().deleted_chunks, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn contexts_come_and_go_over_both_transports() {
    let dir = tempdir().unwrap();
    let daemon = start(dir.path()).await;
    let context = exact_context(tokens(1, 80));
    put_match_get_delete(over_unix(&daemon).await, &context).await;
    put_match_get_delete(over_tls(&daemon).await, &context).await;
    daemon.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_put_that_breaks_off_leaves_nothing() {
    let dir = tempdir().unwrap();
    let daemon = start(dir.path()).await;
    let mut client = DepotClient::new(over_unix(&daemon).await);
    let context = exact_context(tokens(1, 80));
    let mut messages = put_messages(&context);
    messages.pop();
    let status = client.put(tokio_stream::iter(messages)).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::InvalidArgument, "put ended with 1 segments missing"));
    let lossy = context_at_a_lossy_level();
    let status = client.put(tokio_stream::iter(put_messages(&lossy))).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    let mut admin = AdminClient::new(over_unix(&daemon).await);
    let usage = admin.usage(v1::UsageRequest {}).await.unwrap().into_inner();
    assert_eq!((usage.chunks, usage.stored_bytes), (0, 0));
    daemon.shutdown().await.unwrap();
}

fn context_at_a_lossy_level() -> Context {
    context(scope(), tokens(2, 32), kvdepot_codec::Level::Q2)
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_see_usage_contexts_and_chunks() {
    let dir = tempdir().unwrap();
    let daemon = start(dir.path()).await;
    let channel = over_unix(&daemon).await;
    let contexts = [exact_context(tokens(1, 40)), exact_context(tokens(2, 40))];
    let mut depot = DepotClient::new(channel.clone());
    for context in &contexts {
        depot.put(tokio_stream::iter(put_messages(context))).await.unwrap();
    }
    let mut admin = AdminClient::new(channel);
    let usage = admin.usage(v1::UsageRequest {}).await.unwrap().into_inner();
    assert_eq!((usage.chunks, usage.contexts, usage.quic_address), (4, 2, daemon.endpoints().quic.clone()));
    assert!(!usage.quic_certificate.is_empty());
    let mut page = v1::ListRequest { page_size: 1, page_token: Vec::new() };
    let first = admin.list(page.clone()).await.unwrap().into_inner();
    page.page_token = first.next_page_token;
    let second = admin.list(page).await.unwrap().into_inner();
    assert_eq!((second.contexts.len(), second.next_page_token.len()), (1, 0));
    let id = &second.contexts[0].chunk_id;
    let by_digits = v1::InspectRequest { id_prefix: id[..3].to_vec(), id_nibble: Some((id[3] >> 4).into()) };
    let found = admin.inspect(by_digits).await.unwrap().into_inner();
    assert_eq!(found.context.as_ref(), Some(&second.contexts[0]));
    assert!(found.is_leaf);
    let too_short = v1::InspectRequest { id_prefix: vec![1], id_nibble: None };
    assert_eq!(admin.inspect(too_short).await.unwrap_err().code(), Code::InvalidArgument);
    daemon.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn health_says_serving_while_matching_is_served() {
    let dir = tempdir().unwrap();
    let daemon = start(dir.path()).await;
    let mut health = HealthClient::new(over_unix(&daemon).await);
    for service in ["", "kvdepot.v1.Depot", "kvdepot.v1.Admin"] {
        let request = HealthCheckRequest { service: service.to_owned() };
        let status = health.check(request).await.unwrap().into_inner().status;
        assert_eq!(status, ServingStatus::Serving as i32, "{service}");
    }
    daemon.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_says_where_its_daemon_is_while_it_runs() {
    let dir = tempdir().unwrap();
    let daemon = start(dir.path()).await;
    let file = dir.path().join("endpoints.json");
    let written: kvdepot_proto::data_dir::Endpoints = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(&written, daemon.endpoints());
    let certificate = std::fs::read(&written.ca).unwrap();
    for private in [written.socket.clone(), dir.path().join("tls/key.pem")] {
        assert_eq!(std::fs::metadata(private).unwrap().permissions().mode() & 0o777, 0o600);
    }
    daemon.shutdown().await.unwrap();
    assert!(!file.exists() && !written.socket.exists());
    let again = start(dir.path()).await;
    assert_eq!(std::fs::read(&again.endpoints().ca).unwrap(), certificate, "clients may pin it");
    again.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_socket_is_replaced_and_a_live_one_refused() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("kvdepot.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "nobody listens behind it");
    let (_socket, _listener) = super::UnixSocket::bind(&path).unwrap();
    let refused = super::UnixSocket::bind(&path).err().unwrap();
    assert!(refused.to_string().ends_with("another daemon listens there"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_daemon_is_refused_by_name_of_what_is_taken() {
    let (dir, other) = (tempdir().unwrap(), tempdir().unwrap());
    let daemon = start(dir.path()).await;
    let refused = Daemon::start(settings(dir.path())).await.err().unwrap();
    assert!(refused.to_string().ends_with("is in use by another kvdepotd"), "{refused}");
    let mut same_port = settings(other.path());
    same_port.grpc.listen = daemon.endpoints().grpc.clone();
    let refused = Daemon::start(same_port).await.err().unwrap();
    assert!(refused.to_string().starts_with(&format!("grpc.listen {}: ", daemon.endpoints().grpc)), "{refused}");
    daemon.shutdown().await.unwrap();
}
