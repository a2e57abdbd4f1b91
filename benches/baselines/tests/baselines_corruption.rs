//! Promise: bytes that are not a baseline's give an error or other elements, never a panic.
#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod common;

use common::{geometry, model_like};
use kvdepot_baselines::{Baseline, KvtcCalibration, KvtcOptions, uncalibrated};
use kvdepot_codec::{Dtype, KvChunk, Rope};
use proptest::prelude::*;
use rand::{Rng, SeedableRng, rngs::SmallRng};

const NUM_TOKENS: usize = 150;

fn shape() -> kvdepot_codec::Geometry {
    geometry(2, 1, 8, Dtype::Bf16)
}

fn baselines() -> Vec<Box<dyn Baseline>> {
    let mut baselines = uncalibrated();
    let options = KvtcOptions::new(&Rope::plain(10_000.0), 8);
    let calibration = KvtcCalibration::fit(&[(0, model_like(shape(), 60, 1))], &options).unwrap();
    baselines.push(Box::new(calibration.coder(4.0)));
    baselines
}

#[test]
fn truncations_and_changed_bytes_do_not_panic() {
    let chunk = model_like(shape(), NUM_TOKENS, 2);
    let mut into = KvChunk::zeroed(shape(), NUM_TOKENS).unwrap();
    let mut rng = SmallRng::seed_from_u64(11);
    for baseline in baselines() {
        let bytes = baseline.encode(&chunk, 3).unwrap();
        for len in 0..bytes.len().min(400) {
            assert!(baseline.decode(&bytes[..len], &mut into).is_err(), "{}: {len} bytes", baseline.name());
        }
        for _ in 0..400 {
            let mut changed = bytes.clone();
            for _ in 0..rng.random_range(1..4) {
                let at = rng.random_range(0..changed.len());
                changed[at] = rng.random();
            }
            let _ = baseline.decode(&changed, &mut into);
        }
    }
}

#[test]
fn bytes_of_another_shape_are_an_error() {
    let bytes_of = |baseline: &dyn Baseline| baseline.encode(&model_like(shape(), NUM_TOKENS, 2), 0).unwrap();
    let mut into = KvChunk::zeroed(shape(), NUM_TOKENS + 1).unwrap();
    for baseline in baselines() {
        assert!(baseline.decode(&bytes_of(&*baseline), &mut into).is_err(), "{}", baseline.name());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn any_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..6000)) {
        let mut into = KvChunk::zeroed(shape(), 3).unwrap();
        for baseline in baselines() {
            let _ = baseline.decode(&bytes, &mut into);
        }
    }
}
