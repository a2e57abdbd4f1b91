//! The best that one could have done who knew the link: where to meet, of all places.

use kvdepot_proto::stream::{ChunkLoad, EngineCosts};

use super::curve::Curve;

/// Seconds until the context is complete if the ends meet where that is soonest: the first chunks computed, the others loaded at
/// once with `qualities` quality layers and decoded as they come. Computing everything and loading everything are among them.
pub(super) fn best_secs(chunks: &[ChunkLoad], qualities: u8, curve: &Curve, costs: EngineCosts) -> f64 {
    let meet_at = |meet: usize| {
        let (computed, loaded) = chunks.split_at(meet);
        let tokens = computed.iter().map(|chunk| u64::from(chunk.num_tokens)).sum();
        costs.compute_secs(0, tokens).max(loaded_secs(loaded, qualities, curve, costs))
    };
    (0..=chunks.len()).map(meet_at).fold(f64::INFINITY, f64::min)
}

/// Seconds until chunks have come from the back and are decoded, one after the other.
fn loaded_secs(chunks: &[ChunkLoad], qualities: u8, curve: &Curve, costs: EngineCosts) -> f64 {
    let (_, secs) = chunks.iter().rev().fold((0, 0.0), |(bytes, decoded_at), chunk| {
        let bytes = bytes + chunk.quality_bytes.iter().take(qualities.into()).sum::<u64>();
        (bytes, curve.secs(bytes).max(decoded_at) + chunk.kv_bytes as f64 / costs.decode_bytes_per_sec)
    });
    secs
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const COSTS: EngineCosts =
        EngineCosts { secs_per_token: 0.01, secs_per_attended_token: 0.0, decode_bytes_per_sec: 1e4 };

    /// Chunks of 100 tokens, 1 s to compute and 0.1 s to decode each, of 500 bytes of base and 500 more.
    fn chunks() -> Vec<ChunkLoad> {
        let chunk = ChunkLoad { num_tokens: 100, kv_bytes: 1_000, quality_bytes: vec![500; 2], ..ChunkLoad::default() };
        vec![chunk; 4]
    }

    #[test]
    fn the_ends_meet_where_both_end_soonest() {
        let curve = Curve::Measured((1..=8).map(|half| (Duration::from_millis(500 * half), 500 * half)).collect());
        // Two chunks computed in 2 s; two loaded in 2 s, and the last one decoded.
        assert!((best_secs(&chunks(), 2, &curve, COSTS) - 2.1).abs() < 1e-9);
        // One computed; three bases loaded.
        assert!((best_secs(&chunks(), 1, &curve, COSTS) - 1.6).abs() < 1e-9);
    }

    #[test]
    fn a_dead_link_leaves_computing() {
        assert!((best_secs(&chunks(), 2, &Curve::Measured(Vec::new()), COSTS) - 4.0).abs() < 1e-9);
    }
}
