//! Writes seeds for the fuzz targets `frames` and `segments` into a folder: a sound stream of each kind of frame.

use std::path::{Path, PathBuf};

use bytes::BytesMut;
use kvdepot_codec::{Dtype, Geometry, Level, SegmentKey, Side};
use kvdepot_proto::frame::Frame;
use kvdepot_proto::{ChunkContent, ChunkEntry, ChunkId, KvSpec, Manifest, Rope, Scope, SegmentEntry, v1};

const KEY: SegmentKey = SegmentKey { quality: 0, layer_group: 0, side: Side::K };

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let out = PathBuf::from(std::env::args_os().nth(1).ok_or("pass a folder to write to")?);
    let spec = spec()?;
    for frame in frames(&spec) {
        write(&out.join("frames"), frame.name(), &frame.to_bytes())?;
    }
    let mut batch = BytesMut::new();
    for (chunk_idx, payload) in (0..).zip([b"abc".as_slice(), b"d"]) {
        Frame::Segment(start(chunk_idx, payload.len() as u64)).encode(&mut batch);
        batch.extend_from_slice(payload);
    }
    write(&out.join("segments"), "two", &batch)
}

/// What the targets cut in pieces of seven bytes.
fn write(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), Box<dyn std::error::Error>> {
    std::fs::create_dir_all(folder)?;
    Ok(std::fs::write(folder.join(name), [&[7], bytes].concat())?)
}

fn spec() -> Result<KvSpec, kvdepot_codec::Error> {
    Ok(KvSpec {
        model: "tiny".to_owned(),
        weights_digest: [7; 32],
        tokenizer_digest: Some([8; 32]),
        adapter: "lora".to_owned(),
        geometry: Geometry::new(2, 1, 8, Dtype::Bf16)?,
        rope: Rope { kind: "llama3".to_owned(), theta: 5e5, parameters: vec![("factor".to_owned(), 8.0)] },
        sliding_window: Some(128),
    })
}

fn frames(spec: &KvSpec) -> Vec<Frame> {
    let segments = Side::BOTH.map(|side| SegmentEntry { key: SegmentKey { side, ..KEY }, segment_bytes: 9 }).to_vec();
    let content = ChunkContent { level: Level::Q0, segments };
    let chunk = |idx: u8| ChunkEntry {
        id: ChunkId::new([idx; 32]),
        start_token: idx.into(),
        num_tokens: 1,
        content: content.clone(),
        instance: 3,
    };
    let manifest = Manifest { spec: spec.clone(), tokens: vec![5, 6], chunks: vec![chunk(0), chunk(1)] };
    let scope = Some((&Scope::exact(spec.clone())).into());
    let held = vec![v1::HeldChunk { chunk_idx: 1, instance: 3, segments: vec![0b01] }];
    let fetch =
        v1::FetchRequest { scope: scope.clone(), tokens: vec![5, 6], held, transfer_id: 4, ..Default::default() };
    let contents = vec![(&content).into(); 2];
    vec![
        Frame::Fetch(fetch),
        Frame::Manifest((&manifest).into()),
        Frame::FetchDone(v1::FetchDone { segments: 4, payload_bytes: 36 }),
        Frame::Announce(v1::PutAnnounce { scope, tokens: vec![5, 6], contents, transfer_id: 4 }),
        Frame::Need(v1::PutNeed { chunk_idx: vec![0, 1] }),
        Frame::Ack(v1::PutAck { chunk_ids: vec![vec![9; 32]], new_chunks: 1, new_bytes: 18 }),
        Frame::Segment(start(1, 9)),
        Frame::Failure(v1::Failure { kind: 6, message: "quota".to_owned() }),
        Frame::Adjust(v1::Adjust { first_chunk: 3, max_qualities: 1 }),
    ]
}

fn start(chunk_idx: u32, segment_bytes: u64) -> v1::SegmentStart {
    v1::SegmentStart { transfer_id: 4, chunk_idx, key: Some(KEY.into()), segment_bytes }
}
