//! What a receiver loads, and what its engine computes instead: `STREAM.md`, "The controller".
//!
//! CacheGen (arXiv:2310.07240, section 5.3) chooses a level for each chunk by the bandwidth that it expects. Here layers
//! refine each other, so that the choice can wait until the bandwidth has been seen, and the engine computes meanwhile.

use std::time::Duration;

use super::{ChunkLoad, SendOrder, Wants};

/// What computing and decoding take on the receiver.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EngineCosts {
    /// Seconds to compute the KV of a token, without attention; infinite where the engine cannot compute.
    pub secs_per_token: f64,
    /// Seconds for each token that a token attends to.
    pub secs_per_attended_token: f64,
    /// Bytes of KV that are decoded per second.
    pub decode_bytes_per_sec: f64,
}

impl EngineCosts {
    /// Seconds to compute `num_tokens` tokens after `start` others.
    pub fn compute_secs(&self, start: u64, num_tokens: u64) -> f64 {
        let (start, count) = (start as f64, num_tokens as f64);
        let attended = count * (start + count / 2.0);
        // Infinite costs of nothing are nothing.
        if num_tokens == 0 { 0.0 } else { count * self.secs_per_token + attended * self.secs_per_attended_token }
    }

    fn decode_secs(&self, kv_bytes: u64) -> f64 {
        kv_bytes as f64 / self.decode_bytes_per_sec
    }
}

/// What a receiver is after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Goal {
    /// Leading quality layers that loaded chunks shall have, at least 1.
    pub qualities: u8,
    /// When the context has to be complete, at whatever quality; none: as soon as it is, at the quality wanted.
    pub deadline: Option<Duration>,
}

impl Goal {
    /// The order that serves this goal: an engine that computes meets what comes from the back.
    pub fn order(&self) -> SendOrder {
        if self.deadline.is_some() { SendOrder::BaseFirstFromBack } else { SendOrder::ChunksFromBack }
    }

    /// Leading quality layers without which a loaded chunk is of no use.
    pub fn needed(&self) -> u8 {
        if self.deadline.is_some() { 1 } else { self.qualities.max(1) }
    }
}

/// What is known at some moment of a fetch.
#[derive(Debug, Clone, Copy)]
pub struct State<'a> {
    /// Since the request.
    pub elapsed: Duration,
    /// The chunks of the manifest.
    pub chunks: &'a [ChunkLoad],
    /// Leading chunks that the engine has computed.
    pub computed: usize,
    /// Tokens of the chunk after those that it has computed besides.
    pub ahead_tokens: u64,
    /// Whether the engine computes the next one.
    pub is_computing: bool,
    /// Bandwidth, if it could be estimated.
    pub bytes_per_sec: Option<f64>,
    /// What the engine takes.
    pub costs: EngineCosts,
    /// What the receiver is after.
    pub goal: Goal,
}

/// What the engine does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineStep {
    /// Computes the next chunk, or goes on with it.
    Compute,
    /// Waits for what comes.
    Wait,
    /// The context is complete: goes on with the request's own tokens.
    Finish,
}

/// Why.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Reason {
    /// A chunk is being computed.
    Computing,
    /// Computing the chunk takes less than loading what is missing up to it.
    ComputeIsSooner {
        /// Seconds to compute it.
        compute_secs: f64,
        /// Seconds until it would have come; infinite while nothing has come.
        load_secs: f64,
    },
    /// The other way round.
    LoadIsSooner {
        /// Seconds to compute it.
        compute_secs: f64,
        /// Seconds until all will have come.
        load_secs: f64,
    },
    /// The context is complete, and there is time to refine it.
    TimeToRefine {
        /// Seconds left.
        left_secs: f64,
    },
    /// The context is complete, there is no time to load more, and there is to decode what has come.
    TimeToDecode {
        /// Seconds left.
        left_secs: f64,
    },
    /// The context is complete, and the deadline has come.
    Deadline,
    /// The context is complete, as good as it was wanted.
    Complete,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Decision {
    /// What the engine does.
    pub engine: EngineStep,
    /// What is still to come.
    pub wants: Wants,
    /// Why.
    pub reason: Reason,
}

/// Decides what the engine does, and what is still wanted.
pub fn decide(state: &State<'_>) -> Decision {
    let num_chunks = state.chunks.len();
    let front = state.computed.saturating_add(usize::from(state.is_computing)).min(num_chunks);
    let back = ready_from(state.chunks, state.goal.needed());
    let decision = |engine, first_chunk: usize, reason| Decision {
        engine,
        wants: Wants::new(u32::try_from(first_chunk).unwrap_or(u32::MAX), state.goal.qualities.max(1)),
        reason,
    };
    if back <= state.computed {
        return match refinement(state) {
            reason @ Reason::TimeToRefine { .. } => decision(EngineStep::Wait, state.computed, reason),
            reason @ Reason::TimeToDecode { .. } => decision(EngineStep::Wait, num_chunks, reason),
            reason => decision(EngineStep::Finish, num_chunks, reason),
        };
    }
    if state.is_computing {
        return decision(EngineStep::Compute, front, Reason::Computing);
    }
    let (compute_secs, load_secs) = (next_compute_secs(state), load_secs(state, back));
    if compute_secs.is_finite() && compute_secs <= load_secs {
        let reason = Reason::ComputeIsSooner { compute_secs, load_secs };
        decision(EngineStep::Compute, state.computed.saturating_add(1), reason)
    } else {
        decision(EngineStep::Wait, front, Reason::LoadIsSooner { compute_secs, load_secs })
    }
}

/// The chunk from which on all have come and are decoded, in the first `qualities` quality layers.
fn ready_from(chunks: &[ChunkLoad], qualities: u8) -> usize {
    chunks.iter().rposition(|chunk| !chunk.is_ready(qualities)).map_or(0, |missing| missing.saturating_add(1))
}

/// Whether a complete context can still become better.
fn refinement(state: &State<'_>) -> Reason {
    let loaded = state.chunks.get(state.computed..).unwrap_or_default();
    let Some(deadline) = state.goal.deadline else { return Reason::Complete };
    let left_secs = deadline.as_secs_f64() - state.elapsed.as_secs_f64();
    let is_time_to_decode = |kv_bytes| left_secs > state.costs.decode_secs(kv_bytes);
    let next = loaded.iter().rev().find(|chunk| chunk.missing_bytes(state.goal.qualities) > 0);
    let undecoded = loaded.iter().filter(|chunk| !chunk.is_ready(chunk.arrived().min(state.goal.qualities)));
    let (one, all) = undecoded.fold((0, 0u64), |(_, all), chunk| (chunk.kv_bytes, all.saturating_add(chunk.kv_bytes)));
    match next {
        Some(next) if is_time_to_decode(all.saturating_add(next.kv_bytes)) => Reason::TimeToRefine { left_secs },
        None if all == 0 => Reason::Complete,
        _ if all > 0 && is_time_to_decode(one) => Reason::TimeToDecode { left_secs },
        _ => Reason::Deadline,
    }
}

/// Seconds to compute what is missing of the next chunk.
fn next_compute_secs(state: &State<'_>) -> f64 {
    let start =
        state.chunks.iter().take(state.computed).fold(0u64, |sum, chunk| sum.saturating_add(chunk.num_tokens.into()));
    let next = state.chunks.get(state.computed).map_or(0, |chunk| chunk.num_tokens.into());
    let ahead = state.ahead_tokens.min(next);
    state.costs.compute_secs(start.saturating_add(ahead), next.saturating_sub(ahead))
}

/// Seconds until the chunks from the next one to `back` have come and are decoded; decoding overlaps the transfer but for the
/// last chunk.
fn load_secs(state: &State<'_>, back: usize) -> f64 {
    let between = state.chunks.get(state.computed..back).unwrap_or_default();
    let needed = state.goal.needed();
    let missing = between.iter().fold(0u64, |sum, chunk| sum.saturating_add(chunk.missing_bytes(needed)));
    let undecoded = between.iter().filter(|chunk| !chunk.is_ready(needed));
    let kv_bytes = undecoded.fold(0u64, |sum, chunk| sum.saturating_add(chunk.kv_bytes));
    let last = between.iter().find(|chunk| !chunk.is_ready(needed)).map_or(0, |chunk| chunk.kv_bytes);
    let transfer = match state.bytes_per_sec {
        _ if missing == 0 => 0.0,
        Some(bytes_per_sec) if bytes_per_sec > 0.0 => missing as f64 / bytes_per_sec,
        _ => f64::INFINITY,
    };
    transfer.max(state.costs.decode_secs(kv_bytes.saturating_sub(last))) + state.costs.decode_secs(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    const COSTS: EngineCosts =
        EngineCosts { secs_per_token: 1e-3, secs_per_attended_token: 0.0, decode_bytes_per_sec: 1e12 };

    /// Chunks of 100 tokens that take 0.1 s to compute, of three quality layers of 100 bytes.
    fn chunks(arrived: &[[u64; 3]]) -> Vec<ChunkLoad> {
        let chunk = |arrived: &[u64; 3]| ChunkLoad {
            num_tokens: 100,
            kv_bytes: 1_000,
            quality_bytes: vec![100; 3],
            arrived_bytes: arrived.to_vec(),
            decoded: 0,
        };
        let decoded = |load: ChunkLoad| ChunkLoad { decoded: load.arrived(), ..load };
        arrived.iter().map(chunk).map(decoded).collect()
    }

    fn state(chunks: &[ChunkLoad]) -> State<'_> {
        State {
            elapsed: Duration::ZERO,
            chunks,
            computed: 0,
            ahead_tokens: 0,
            is_computing: false,
            bytes_per_sec: Some(1_000.0),
            costs: COSTS,
            goal: Goal { qualities: 3, deadline: None },
        }
    }

    #[test]
    fn the_engine_computes_while_much_is_missing_and_waits_for_little() {
        let much = chunks(&[[0; 3], [0; 3], [100; 3]]);
        let decision = decide(&state(&much));
        assert_eq!((decision.engine, decision.wants), (EngineStep::Compute, Wants::new(1, 3)));
        let little = chunks(&[[100, 100, 50], [100; 3]]);
        let decision = decide(&state(&little));
        assert_eq!((decision.engine, decision.wants), (EngineStep::Wait, Wants::new(0, 3)));
        let silent = State { bytes_per_sec: Some(0.0), ..state(&little) };
        assert_eq!(decide(&silent).engine, EngineStep::Compute);
        let unknown = State { bytes_per_sec: None, ..state(&little) };
        assert_eq!(decide(&unknown).engine, EngineStep::Compute);
    }

    #[test]
    fn of_a_chunk_that_is_half_computed_only_the_rest_counts() {
        // It comes in 0.05 s, and takes 0.1 s to compute.
        let little = chunks(&[[100, 100, 50], [100; 3]]);
        let ahead = |ahead_tokens| decide(&State { ahead_tokens, ..state(&little) }).engine;
        assert_eq!([40, 60].map(ahead), [EngineStep::Wait, EngineStep::Compute]);
    }

    #[test]
    fn a_receiver_that_cannot_compute_waits() {
        let costs = EngineCosts { secs_per_token: f64::INFINITY, ..COSTS };
        let missing = chunks(&[[0; 3], [100; 3]]);
        assert_eq!(decide(&State { costs, ..state(&missing) }).engine, EngineStep::Wait);
        assert_eq!(decide(&State { costs, bytes_per_sec: None, ..state(&missing) }).engine, EngineStep::Wait);
    }

    #[test]
    fn where_the_ends_meet_the_context_is_complete() {
        let loaded = chunks(&[[0; 3], [100; 3]]);
        let computing = State { is_computing: true, ..state(&loaded) };
        assert_eq!(decide(&computing).reason, Reason::Computing);
        assert_eq!(decide(&computing).wants, Wants::new(1, 3));
        let met = State { computed: 1, ..state(&loaded) };
        assert_eq!((decide(&met).engine, decide(&met).reason), (EngineStep::Finish, Reason::Complete));
        assert_eq!(decide(&met).wants.first_chunk(), 2);
        assert_eq!(decide(&state(&[])).engine, EngineStep::Finish);
    }

    #[test]
    fn time_before_a_deadline_refines_and_none_after_it() {
        let base = chunks(&[[0; 3], [100, 0, 0]]);
        let goal = Goal { qualities: 3, deadline: Some(Duration::from_secs(1)) };
        let early = State { computed: 1, goal, ..state(&base) };
        assert!(matches!(decide(&early).reason, Reason::TimeToRefine { .. }));
        assert_eq!(decide(&early).wants, Wants::new(1, 3));
        let late = State { elapsed: Duration::from_secs(1), ..early };
        assert_eq!((decide(&late).engine, decide(&late).reason), (EngineStep::Finish, Reason::Deadline));
        let fine = chunks(&[[0; 3], [100; 3]]);
        assert_eq!(decide(&State { chunks: &fine, ..early }).reason, Reason::Complete);
    }

    #[test]
    fn what_has_come_is_decoded_while_there_is_time_and_nothing_more_is_loaded_then() {
        let mut come = chunks(&[[0; 3], [100, 100, 0], [100, 100, 0]]);
        come.iter_mut().skip(1).for_each(|chunk| chunk.decoded = 1);
        let goal = Goal { qualities: 3, deadline: Some(Duration::from_secs(1)) };
        // A chunk is decoded in 0.1 s.
        let costs = EngineCosts { decode_bytes_per_sec: 1e4, ..COSTS };
        let at = |millis| {
            let elapsed = Duration::from_millis(millis);
            decide(&State { elapsed, computed: 1, costs, goal, ..state(&come) })
        };
        assert!(matches!(at(600).reason, Reason::TimeToRefine { .. }), "two to decode, and one more");
        assert!(matches!(at(750).reason, Reason::TimeToDecode { .. }));
        assert_eq!((at(750).engine, at(750).wants.first_chunk()), (EngineStep::Wait, 3));
        assert_eq!((at(950).engine, at(950).reason), (EngineStep::Finish, Reason::Deadline));
    }

    #[test]
    fn what_has_come_but_is_not_decoded_is_waited_for_if_that_is_sooner() {
        let mut come = chunks(&[[100; 3], [100; 3]]);
        come.iter_mut().take(1).for_each(|chunk| chunk.decoded = 0);
        let decode_in = |secs: f64| EngineCosts { decode_bytes_per_sec: 1_000.0 / secs, ..COSTS };
        let decide_with = |costs| decide(&State { costs, bytes_per_sec: Some(0.0), ..state(&come) }).engine;
        assert_eq!(decide_with(decode_in(0.05)), EngineStep::Wait);
        assert_eq!(decide_with(decode_in(0.2)), EngineStep::Compute);
    }
}
