//! The data plane as a client sees it.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use bytes::BytesMut;
use kvdepot_proto::frame::{Frame, FrameDecoder, SegmentDecoder, SegmentEvent};
use kvdepot_proto::{ALPN, Assembly, ErrorKind, Manifest, ReceivedSegment, segment_key, v1};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, Endpoint, RecvStream, SendStream};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tempfile::tempdir;

use super::frames::read_frame;
use crate::daemon::Daemon;
use crate::testing::*;

/// Settings that trust the daemon's certificate.
fn client_config(daemon: &Daemon) -> ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&daemon.endpoints().ca).unwrap()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        rustls::ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13]);
    let mut crypto = builder.unwrap().with_root_certificates(roots).with_no_client_auth();
    crypto.alpn_protocols = vec![ALPN.to_vec()];
    ClientConfig::new(std::sync::Arc::new(QuicClientConfig::try_from(crypto).unwrap()))
}

async fn connect(daemon: &Daemon) -> (Endpoint, Connection) {
    connect_with(daemon, client_config(daemon)).await
}

async fn connect_with(daemon: &Daemon, config: ClientConfig) -> (Endpoint, Connection) {
    let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let address: SocketAddr = daemon.endpoints().quic.parse().unwrap();
    let connection = endpoint.connect_with(config, address, "localhost").unwrap().await.unwrap();
    (endpoint, connection)
}

/// One request with its answers.
struct Request {
    send: SendStream,
    receive: RecvStream,
    decoder: FrameDecoder,
}

impl Request {
    async fn open(connection: &Connection, frame: Frame) -> Self {
        let (mut send, receive) = connection.open_bi().await.unwrap();
        send.write_all(&frame.to_bytes()).await.unwrap();
        Self { send, receive, decoder: FrameDecoder::default() }
    }

    async fn answer(&mut self) -> Frame {
        read_frame(&mut self.receive, &mut self.decoder).await.unwrap().unwrap()
    }

    async fn failure(&mut self) -> kvdepot_proto::Error {
        match self.answer().await {
            Frame::Failure(failure) => failure.into(),
            other => panic!("expected a failure, got {other:?}"),
        }
    }
}

async fn announce(connection: &Connection, context: &Context, transfer_id: u64) -> (Request, Vec<u32>) {
    let mut request = Request::open(connection, Frame::Announce(announcement(context, transfer_id))).await;
    match request.answer().await {
        Frame::Need(need) => (request, need.chunk_idx),
        other => panic!("expected what is needed, got {other:?}"),
    }
}

/// The bytes of a stream of segments.
fn on_a_stream<'a>(segments: impl IntoIterator<Item = &'a ReceivedSegment>, transfer_id: u64) -> BytesMut {
    let mut bytes = BytesMut::new();
    for segment in segments {
        let start = v1::SegmentStart {
            transfer_id,
            chunk_idx: segment.chunk_idx,
            key: Some(segment.key.into()),
            segment_bytes: segment.bytes.len() as u64,
        };
        Frame::Segment(start).encode(&mut bytes);
        bytes.extend_from_slice(&segment.bytes);
    }
    bytes
}

async fn send_segments<'a>(
    connection: &Connection,
    segments: impl Iterator<Item = &'a ReceivedSegment>,
    transfer_id: u64,
) {
    let mut stream = connection.open_uni().await.unwrap();
    stream.write_all(&on_a_stream(segments, transfer_id)).await.unwrap();
    stream.finish().unwrap();
}

async fn put_over_quic(connection: &Connection, context: &Context, transfer_id: u64) -> v1::PutAck {
    let (mut request, need) = announce(connection, context, transfer_id).await;
    for chunk_idx in need {
        let segments = context.segments.iter().filter(|segment| segment.chunk_idx == chunk_idx);
        send_segments(connection, segments, transfer_id).await;
    }
    match request.answer().await {
        Frame::Ack(ack) => ack,
        other => panic!("expected an acknowledgement, got {other:?}"),
    }
}

async fn receive_stream(connection: &Connection, assembly: &mut Assembly) -> Vec<ReceivedSegment> {
    let bytes = connection.accept_uni().await.unwrap().read_to_end(1 << 24).await.unwrap();
    let mut decoder = SegmentDecoder::default();
    decoder.push(&bytes);
    let (mut segments, mut started) = (Vec::new(), None);
    while let Some(event) = decoder.next_event().unwrap() {
        match event {
            SegmentEvent::Start(start) => {
                let key = segment_key(start.key).unwrap();
                assembly.begin(start.chunk_idx, key, start.segment_bytes).unwrap();
                started = Some((start.chunk_idx, key));
            }
            SegmentEvent::End(bytes) => {
                let (chunk_idx, key) = started.unwrap();
                segments.push(ReceivedSegment { chunk_idx, key, bytes });
                assembly.finish();
            }
        }
    }
    assert!(decoder.is_empty());
    segments
}

async fn fetch_over_quic(connection: &Connection, request: v1::FetchRequest) -> (Manifest, Vec<ReceivedSegment>) {
    let mut request = Request::open(connection, Frame::Fetch(request)).await;
    let Frame::Manifest(manifest) = request.answer().await else { panic!("the manifest comes first") };
    let manifest = Manifest::try_from(manifest).unwrap();
    let mut assembly = Assembly::new((0u32..).zip(manifest.chunks.iter().map(|chunk| &chunk.content)));
    let mut by_chunk = BTreeMap::new();
    while !assembly.is_complete() {
        let segments = receive_stream(connection, &mut assembly).await;
        by_chunk.insert(segments[0].chunk_idx, segments);
    }
    let segments: Vec<_> = by_chunk.into_values().flatten().collect();
    let Frame::FetchDone(done) = request.answer().await else { panic!("the end comes last") };
    assert_eq!(done.segments as usize, segments.len());
    (manifest, segments)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_context_put_over_quic_is_fetched_bit_for_bit_after_a_restart() {
    let dir = tempdir().unwrap();
    let daemon = start(dir.path()).await;
    let context = exact_context(tokens(1, 10 * CHUNK_TOKENS + 5));
    let (_endpoint, connection) = connect(&daemon).await;
    let ack = put_over_quic(&connection, &context, 1).await;
    assert_eq!((ack.new_chunks, ack.new_bytes), (11, context.stored_bytes()));
    assert_eq!(put_over_quic(&connection, &context, 2).await.new_chunks, 0);
    drop(connection);
    daemon.shutdown().await.unwrap();
    let daemon = start(dir.path()).await;
    let (_endpoint, connection) = connect(&daemon).await;
    let (manifest, segments) = fetch_over_quic(&connection, fetch_request(&context, 3)).await;
    assert_eq!((manifest.tokens, segments), (context.announce.tokens.clone(), context.segments.clone()));
    daemon.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_resumes_after_the_chunks_that_the_receiver_has() {
    let dir = tempdir().unwrap();
    let daemon = start(dir.path()).await;
    let context = exact_context(tokens(1, 4 * CHUNK_TOKENS));
    let (_endpoint, connection) = connect(&daemon).await;
    let id = put_over_quic(&connection, &context, 1).await.chunk_ids.pop().unwrap();
    let request = v1::FetchRequest { chunk_id: id, skip_chunks: 3, transfer_id: 2, ..v1::FetchRequest::default() };
    let (manifest, segments) = fetch_over_quic(&connection, request).await;
    assert_eq!(manifest.chunks[0].start_token, 3 * CHUNK_TOKENS);
    let last: Vec<_> = context.segments_from(3).map(|segment| &segment.bytes).collect();
    assert_eq!(segments.iter().map(|segment| &segment.bytes).collect::<Vec<_>>(), last);
    daemon.shutdown().await.unwrap();
}

/// Held bits of a chunk: `segments` is the first byte of them.
fn held(chunk_idx: u32, instance: u64, segments: u8) -> v1::HeldChunk {
    v1::HeldChunk { chunk_idx, instance, segments: vec![segments] }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_sends_what_is_not_held_of_the_instance_that_is_stored() {
    let dir = tempdir().unwrap();
    let daemon = start(dir.path()).await;
    let context = exact_context(tokens(1, 3 * CHUNK_TOKENS));
    let (_endpoint, connection) = connect(&daemon).await;
    put_over_quic(&connection, &context, 1).await;
    let (manifest, _) = fetch_over_quic(&connection, fetch_request(&context, 2)).await;
    let instance = manifest.chunks[0].instance;
    // Two of four segments, all, and some of another chunk that had the same name.
    let held = vec![held(0, instance, 0b0101), held(1, instance, 0b1111), held(2, instance + 1, 0b1111)];
    let request = v1::FetchRequest { held, ..fetch_request(&context, 3) };
    let mut request = Request::open(&connection, Frame::Fetch(request)).await;
    let Frame::Manifest(again) = request.answer().await else { panic!("the manifest comes first") };
    assert_eq!(Manifest::try_from(again).unwrap(), manifest, "it has what is held, too");
    let Frame::FetchDone(done) = request.answer().await else { panic!("the end comes last") };
    assert_eq!(done.segments, 2 + 4);
    daemon.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_changes_its_address_keeps_its_connection() {
    let dir = tempdir().unwrap();
    let daemon = start(dir.path()).await;
    let context = exact_context(tokens(1, 10 * CHUNK_TOKENS));
    let (endpoint, connection) = connect(&daemon).await;
    put_over_quic(&connection, &context, 1).await;
    for transfer_id in 2..5 {
        let before = endpoint.local_addr().unwrap();
        endpoint.rebind(std::net::UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap();
        assert_ne!(endpoint.local_addr().unwrap(), before);
        let (_, segments) = fetch_over_quic(&connection, fetch_request(&context, transfer_id)).await;
        assert_eq!(segments, context.segments);
    }
    daemon.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_miss_is_an_empty_manifest() {
    let dir = tempdir().unwrap();
    let daemon = start(dir.path()).await;
    let (_endpoint, connection) = connect(&daemon).await;
    let (manifest, segments) = fetch_over_quic(&connection, fetch_request(&exact_context(tokens(1, 40)), 1)).await;
    assert_eq!((manifest.chunks.len(), segments.len()), (0, 0));
    daemon.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_put_whose_sender_vanishes_leaves_nothing() {
    let dir = tempdir().unwrap();
    let daemon = start(dir.path()).await;
    let context = exact_context(tokens(1, 4 * CHUNK_TOKENS));
    let (endpoint, connection) = connect(&daemon).await;
    let (request, need) = announce(&connection, &context, 1).await;
    assert_eq!(need, [0, 1, 2, 3]);
    send_segments(&connection, context.segments.iter().skip(1), 1).await;
    drop(request);
    connection.close(7u32.into(), b"");
    endpoint.wait_idle().await;
    // A shutdown waits for the connection's tasks, and with them for the put.
    daemon.shutdown().await.unwrap();
    let reopened = open(&dir.path().join("store"), 0);
    assert_eq!(matched(&reopened.depot, &context), 0);
    assert_eq!(reopened.depot.usage().stored_bytes, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_segment_that_no_put_announced_is_refused() {
    let dir = tempdir().unwrap();
    let daemon = start(dir.path()).await;
    let context = exact_context(tokens(1, CHUNK_TOKENS));
    let (_endpoint, connection) = connect(&daemon).await;
    let mut stream = connection.open_uni().await.unwrap();
    stream.write_all(&on_a_stream(&context.segments, 99)).await.unwrap();
    assert_eq!(stream.stopped().await.unwrap(), Some(super::close::UNKNOWN_TRANSFER));
    assert_eq!(put_over_quic(&connection, &context, 1).await.new_chunks, 1, "the connection goes on");
    daemon.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_make_no_sense_fail_with_a_reason() {
    let dir = tempdir().unwrap();
    let daemon = start(dir.path()).await;
    let (_endpoint, connection) = connect(&daemon).await;
    let absent = v1::FetchRequest { chunk_id: vec![5; 32], ..v1::FetchRequest::default() };
    let cases = [
        (Frame::Fetch(absent.clone()), ErrorKind::NotFound),
        (Frame::Fetch(v1::FetchRequest::default()), ErrorKind::Invalid),
        (Frame::Fetch(v1::FetchRequest { held: vec![held(0, 1, 1); 2], ..absent }), ErrorKind::Invalid),
        (Frame::Announce(v1::PutAnnounce::default()), ErrorKind::Invalid),
        (Frame::Need(v1::PutNeed::default()), ErrorKind::Invalid),
    ];
    for (frame, kind) in cases {
        let error = Request::open(&connection, frame.clone()).await.failure().await;
        assert_eq!(error.kind(), kind, "{frame:?}: {error}");
    }
    let mut garbage = Request::open(&connection, Frame::Need(v1::PutNeed::default())).await;
    assert_eq!(garbage.failure().await.kind(), ErrorKind::Invalid);
    let (mut send, receive) = connection.open_bi().await.unwrap();
    send.write_all(&[0xff; 64]).await.unwrap();
    let mut garbage = Request { send, receive, decoder: FrameDecoder::default() };
    assert_eq!(garbage.failure().await.kind(), ErrorKind::Incompatible);
    garbage.send.finish().unwrap();
    daemon.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_out_of_place_ends_a_fetch_in_progress_and_not_its_connection() {
    let dir = tempdir().unwrap();
    let daemon = start(dir.path()).await;
    let context = exact_context(tokens(1, 3 * CHUNK_TOKENS));
    // A receiver that lets no stream be opened: its fetches go on until something ends them.
    let mut transport = quinn::TransportConfig::default();
    transport.max_concurrent_uni_streams(0u8.into());
    let mut config = client_config(&daemon);
    config.transport_config(std::sync::Arc::new(transport));
    let (_endpoint, connection) = connect_with(&daemon, config).await;
    assert_eq!(put_over_quic(&connection, &context, 1).await.new_chunks, 3);
    let adjust = |max_qualities| Frame::Adjust(v1::Adjust { first_chunk: 0, max_qualities }).to_bytes();
    let cases = [
        (Frame::Need(v1::PutNeed::default()).to_bytes(), ErrorKind::Invalid),
        (Frame::Fetch(fetch_request(&context, 9)).to_bytes(), ErrorKind::Invalid),
        (adjust(200), ErrorKind::Invalid),
        (vec![65, 0, 0, 0, 9].into(), ErrorKind::Invalid),
        (vec![0xff; 5].into(), ErrorKind::Incompatible),
    ];
    for (transfer_id, (bytes, kind)) in (2..).zip(cases) {
        let mut request = Request::open(&connection, Frame::Fetch(fetch_request(&context, transfer_id))).await;
        assert!(matches!(request.answer().await, Frame::Manifest(_)));
        request.send.write_all(&adjust(1)).await.unwrap();
        request.send.write_all(&bytes).await.unwrap();
        assert_eq!(request.failure().await.kind(), kind, "{bytes:?}");
    }
    assert_eq!(put_over_quic(&connection, &context, 99).await.new_chunks, 0);
    daemon.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_id_in_progress_is_not_used_twice() {
    let dir = tempdir().unwrap();
    let daemon = start(dir.path()).await;
    let (_endpoint, connection) = connect(&daemon).await;
    let (one, two) = (exact_context(tokens(1, CHUNK_TOKENS)), exact_context(tokens(2, CHUNK_TOKENS)));
    let (mut first, _) = announce(&connection, &one, 1).await;
    let error = Request::open(&connection, Frame::Announce(announcement(&two, 1))).await.failure().await;
    assert_eq!(error.kind(), ErrorKind::Invalid);
    send_segments(&connection, one.segments.iter(), 1).await;
    assert!(matches!(first.answer().await, Frame::Ack(_)), "the first goes on");
    daemon.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_lets_a_put_in_progress_finish() {
    let dir = tempdir().unwrap();
    let daemon = start(dir.path()).await;
    let context = exact_context(tokens(1, 2 * CHUNK_TOKENS));
    let (_endpoint, connection) = connect(&daemon).await;
    let (mut request, _) = announce(&connection, &context, 1).await;
    let shutdown = tokio::spawn(daemon.shutdown());
    send_segments(&connection, context.segments.iter(), 1).await;
    assert!(matches!(request.answer().await, Frame::Ack(_)));
    shutdown.await.unwrap().unwrap();
    let reopened = open(&dir.path().join("store"), 0);
    assert_eq!(fetch(&reopened.depot, &context).unwrap().1, context.segments);
}
