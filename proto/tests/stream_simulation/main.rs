//! A fetch and a put keep their promises in every schedule of delays, losses, restarts and lies that a seed gives.
//!
//! Both ends are the state machines that daemon and client run, and the bytes between them are real frames and real segments;
//! only the network and the store are made up. A schedule that fails prints its seed:
//! `KVDEPOT_SIMULATION_SEED=7 cargo test --release -p kvdepot-proto --test stream_simulation` runs that one alone.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]
#![allow(clippy::arithmetic_side_effects, clippy::cast_possible_truncation, reason = "small numbers")]

mod depot;
mod dice;
mod fetch;
mod put;
mod receiver;
mod stored;
mod wire;

use std::ops::Range;

use dice::Dice;

/// Runs `schedule` for every seed, or for the one that the environment names.
fn for_each_seed(seeds: Range<u64>, mut schedule: impl FnMut(Dice)) {
    let named = std::env::var("KVDEPOT_SIMULATION_SEED").ok().map(|seed| seed.parse().expect("a number"));
    for seed in named.map_or(seeds, |seed: u64| seed..seed + 1) {
        let _told = OnFailure(seed);
        schedule(Dice::new(seed));
    }
}

/// Tells the seed of a schedule that fails.
struct OnFailure(u64);

impl Drop for OnFailure {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("KVDEPOT_SIMULATION_SEED={}", self.0);
        }
    }
}
