//! Promise: synthetic KV has the channels of the dump it is drawn from, and its RoPE.
#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod common;

use common::{geometry, load_f32, model_like};
use kvdepot_baselines::synth::synthesize;
use kvdepot_codec::{Dtype, Geometry, KvChunk, Origin, Side, dump};

/// A dump's file, as bytes.
fn dump_bytes(chunk: &KvChunk) -> Vec<u8> {
    let path = std::env::temp_dir().join(format!("kvdepot-synth-{}-{}", std::process::id(), chunk.num_tokens()));
    let origin = Origin { rope_theta: 10_000.0, first_position: 5, ..Origin::default() };
    dump::write(&path, std::slice::from_ref(chunk), &origin).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    bytes
}

/// The course of one channel over a plane's tokens.
fn course(chunk: &KvChunk, layer: usize, side: Side, channel: usize) -> Vec<f32> {
    let values = load_f32(chunk.plane(layer, side));
    values.chunks_exact(chunk.geometry().channels()).map(|token| token[channel]).collect()
}

fn drawn(real: &KvChunk, shape: Geometry, num_tokens: usize) -> KvChunk {
    let bytes = dump_bytes(real);
    let like = dump::KvDump::parse(&bytes).unwrap();
    synthesize(&like, shape, num_tokens, num_tokens, 3).unwrap().remove(0)
}

#[test]
fn every_value_channel_is_a_run_of_a_real_one_of_the_layer_at_its_depth() {
    let real = model_like(geometry(2, 2, 8, Dtype::F32), 50, 1);
    let synthetic = drawn(&real, geometry(6, 3, 16, Dtype::F32), 20);
    for (layer, real_layer) in [(0, 0), (2, 0), (3, 1), (5, 1)] {
        for channel in 0..48 {
            let run = course(&synthetic, layer, Side::V, channel);
            let found = (0..16).any(|real_channel| {
                course(&real, real_layer, Side::V, real_channel).windows(20).any(|window| window == run)
            });
            assert!(found, "layer {layer}, channel {channel}");
        }
    }
}

#[test]
fn pairs_of_keys_keep_their_norms() {
    let norms = |chunk: &KvChunk, layer, head_dim: usize, pair: usize, head: usize| -> Vec<f32> {
        let [a, b] = [pair, pair + head_dim / 2].map(|d| course(chunk, layer, Side::K, head * head_dim + d));
        a.iter().zip(&b).map(|(a, b)| a.hypot(*b)).collect()
    };
    let real = model_like(geometry(1, 2, 8, Dtype::F32), 42, 1);
    let synthetic = drawn(&real, geometry(1, 2, 16, Dtype::F32), 30);
    for (head, pair) in (0..2).flat_map(|head| (0..8).map(move |pair| (head, pair))) {
        let run = norms(&synthetic, 0, 16, pair, head);
        let close = |window: &[f32]| window.iter().zip(&run).all(|(a, b)| (a - b).abs() < 1e-4);
        let found = (0..2).any(|real_head| norms(&real, 0, 8, pair / 2, real_head).windows(30).any(close));
        assert!(found, "pair {pair} of head {head}");
    }
}

#[test]
fn the_same_geometry_and_all_tokens_give_heads_of_the_dump_itself() {
    let real = model_like(geometry(2, 1, 8, Dtype::F32), 30, 4);
    let synthetic = drawn(&real, *real.geometry(), 30);
    let (real, synthetic) = (load_f32(real.bytes()), load_f32(synthetic.bytes()));
    assert!(real.iter().zip(&synthetic).all(|(a, b)| (a - b).abs() < 1e-4));
}

#[test]
fn more_tokens_than_the_dump_has_are_refused() {
    let bytes = dump_bytes(&model_like(geometry(1, 1, 4, Dtype::F32), 10, 1));
    let like = dump::KvDump::parse(&bytes).unwrap();
    assert!(synthesize(&like, *like.geometry(), 11, 4, 1).is_err());
    assert_eq!(synthesize(&like, *like.geometry(), 10, 4, 1).unwrap().len(), 3);
}
