//! Encode and decode of one chunk at each level on each instruction set, in bytes of plain KV per second, beside memcpy.
//!
//! `cargo bench -p kvdepot-benches --bench codec`

use std::{collections::BTreeMap, hint::black_box};

use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime};
use half::bf16;
use kvdepot_codec::{Codec, Dtype, EncodeOptions, Geometry, Isa, KvChunk, Level, Rope, Segment, encode};
use rand::{Rng, SeedableRng, rngs::SmallRng};

const SEED: u64 = 20_260_731;
/// Tokens of the chunk.
const NUM_TOKENS: usize = 256;

/// A chunk shaped like those of Llama 3.1 8B, larger than caches: channels of a head differ in spread and mean, as real ones do.
fn chunk() -> KvChunk {
    let geometry = Geometry::new(32, 8, 128, Dtype::Bf16).expect("within the limits");
    let mut rng = SmallRng::seed_from_u64(SEED);
    let channels: Vec<(f32, f32)> = (0..geometry.channels())
        .map(|_| (rng.random_range(-1.0..1.0), rng.random_range(-3.0f32..1.0).exp2()))
        .collect();
    let mut gaussian = || (0..6).map(|_| rng.random_range(-1.0f32..1.0)).sum::<f32>() / 1.41;
    let elements = channels.iter().cycle().take(2 * geometry.num_layers() * NUM_TOKENS * channels.len());
    let bytes = elements.flat_map(|(mean, spread)| bf16::from_f32(mean + spread * gaussian()).to_le_bytes()).collect();
    KvChunk::from_bytes(geometry, NUM_TOKENS, bytes).expect("as many elements as the shape has")
}

fn memcpy(group: &mut BenchmarkGroup<'_, WallTime>, chunk: &KvChunk) {
    let mut copy = chunk.bytes().to_vec();
    group.bench_function("memcpy", |bencher| {
        bencher.iter(|| black_box(&mut copy).copy_from_slice(black_box(chunk.bytes())));
    });
}

fn level(group: &mut BenchmarkGroup<'_, WallTime>, chunk: &KvChunk, level: Level) {
    let options = EncodeOptions::new(level).at(Rope::plain(10_000.0), 0);
    let segments = encode(chunk, &options).expect("finite elements encode");
    let encoded_bytes: usize = segments.iter().map(|segment| segment.bytes.len()).sum();
    let planes = by_plane(&segments);
    println!("{level}: ratio {:.3} on synthetic KV", chunk.bytes().len() as f64 / encoded_bytes as f64);
    for isa in Isa::available() {
        let codec = Codec::on(isa);
        group.bench_function(format!("encode/{level}/{isa}"), |bencher| {
            bencher.iter(|| codec.encode(black_box(chunk), &options));
        });
        let mut decoded = chunk.clone();
        group.bench_function(format!("decode/{level}/{isa}"), |bencher| {
            bencher.iter(|| {
                for layers in &planes {
                    codec.decode_layers(black_box(layers), &mut decoded).expect("encoded above");
                }
            });
        });
    }
}

/// The quality layers of each layer group and side.
fn by_plane(segments: &[Segment]) -> Vec<Vec<&[u8]>> {
    let mut planes = BTreeMap::<_, Vec<&[u8]>>::new();
    for Segment { key, bytes } in segments {
        planes.entry((key.layer_group, key.side)).or_default().push(bytes);
    }
    planes.into_values().collect()
}

fn codec(criterion: &mut Criterion) {
    let chunk = chunk();
    let mut group = criterion.benchmark_group("codec");
    group.sample_size(10);
    group.throughput(Throughput::Bytes(chunk.bytes().len() as u64));
    memcpy(&mut group, &chunk);
    Level::ALL.into_iter().for_each(|each| level(&mut group, &chunk, each));
    group.finish();
}

criterion_group!(benches, codec);
criterion_main!(benches);
