//! The controller on simulated links, against the best that hindsight could have done: no oracle tells it the bandwidth.

use std::collections::VecDeque;
use std::time::Duration;

use kvdepot_codec::{Level, SegmentKey, Side};
use kvdepot_proto::stream::{
    Arrivals, BatchId, ChunkLoad, EngineCosts, EngineStep, FetchSender, Goal, SegmentRef, State, Wants, decide,
};
use kvdepot_proto::{ChunkContent, SegmentEntry};

/// Seconds of a step of the simulation.
const STEP: f64 = 1e-3;
/// Tokens of a step before the manifest has come.
const AHEAD_TOKENS: u64 = 16;
/// Tokens of a chunk.
const CHUNK_TOKENS: u32 = 256;
/// Bytes of KV of a token: Llama 3.1 8B in bf16.
const TOKEN_BYTES: u64 = 131_072;
/// Bits per value of Q3's quality layers at that geometry, measured (`docs/benchmarks.md`).
const QUALITY_BITS: [f64; 3] = [2.09, 1.02, 0.50];

/// Bytes per second over time.
struct Link {
    name: &'static str,
    /// Until when, and how many bytes per second; the last one for ever.
    rates: Vec<(f64, f64)>,
    round_trip: f64,
}

fn gbit(gbit_per_sec: f64) -> f64 {
    gbit_per_sec * 1e9 / 8.0
}

impl Link {
    fn steady(name: &'static str, gbit_per_sec: f64) -> Self {
        Self { name, rates: vec![(f64::INFINITY, gbit(gbit_per_sec))], round_trip: 1e-3 }
    }

    fn rate(&self, now: f64) -> f64 {
        self.rates.iter().find(|(until, _)| now < *until).map_or(0.0, |(_, rate)| *rate)
    }
}

/// A context of whole chunks, at Q3 with all layers of a side in one segment.
fn context(num_chunks: usize) -> Vec<ChunkContent> {
    let kv_bytes = u64::from(CHUNK_TOKENS) * TOKEN_BYTES;
    let segment = |quality: u8, side: Side| {
        let sides = if quality < Level::Q3.qualities(Side::V) { 2.0 } else { 1.0 };
        let segment_bytes = (kv_bytes as f64 * QUALITY_BITS[usize::from(quality)] / 16.0 / sides) as u64;
        SegmentEntry { key: SegmentKey { quality, layer_group: 0, side }, segment_bytes }
    };
    let segments = Side::BOTH
        .into_iter()
        .flat_map(|side| (0..Level::Q3.qualities(side)).map(move |quality| segment(quality, side)));
    let content = ChunkContent { level: Level::Q3, segments: segments.collect() };
    vec![content; num_chunks]
}

fn segment_bytes(chunks: &[ChunkContent], segment: SegmentRef) -> u64 {
    let segments = &chunks[segment.chunk_idx as usize].segments;
    segments.iter().find(|entry| entry.key == segment.key).expect("it is in the manifest").segment_bytes
}

fn loads(chunks: &[ChunkContent]) -> Vec<ChunkLoad> {
    let load = |content: &ChunkContent| {
        let mut quality_bytes = vec![0; usize::from(Level::MAX_QUALITIES)];
        content
            .segments
            .iter()
            .for_each(|segment| quality_bytes[usize::from(segment.key.quality)] += segment.segment_bytes);
        ChunkLoad {
            num_tokens: CHUNK_TOKENS,
            kv_bytes: u64::from(CHUNK_TOKENS) * TOKEN_BYTES,
            arrived_bytes: vec![0; quality_bytes.len()],
            quality_bytes,
            decoded: 0,
        }
    };
    chunks.iter().map(load).collect()
}

/// What came of a fetch.
#[derive(Debug)]
struct Outcome {
    /// Until the context was complete and the controller let the engine go on.
    secs: f64,
    computed: usize,
    /// Mean number of quality layers of the loaded chunks.
    qualities: f64,
}

/// The depot, and the link to and from it.
struct Wire<'a> {
    link: &'a Link,
    chunks: &'a [ChunkContent],
    sender: FetchSender,
    /// The batch that is sent: what is left of it, the next segment last.
    under_way: Option<(BatchId, Vec<(SegmentRef, f64)>)>,
    /// Bytes on their way, and when they arrive.
    forth: VecDeque<(f64, SegmentRef, u64)>,
    /// Adjusts on their way.
    back: VecDeque<(f64, Wants)>,
}

impl<'a> Wire<'a> {
    fn new(link: &'a Link, chunks: &'a [ChunkContent], goal: Goal) -> Self {
        let refs: Vec<&ChunkContent> = chunks.iter().collect();
        let sender = FetchSender::new(goal.order(), &refs, Wants::new(0, goal.qualities));
        Self { link, chunks, sender, under_way: None, forth: VecDeque::new(), back: VecDeque::new() }
    }

    /// The depot takes in what the receiver wanted half a round trip ago, and sends as much as the link takes in a step.
    fn send(&mut self, now: f64) {
        let refs: Vec<&ChunkContent> = self.chunks.iter().collect();
        while let Some((_, wants)) = self.back.front().copied().filter(|(at, _)| *at <= now) {
            self.back.pop_front();
            for reset in self.sender.adjust(wants.first_chunk(), wants.max_qualities(), &refs) {
                self.under_way.take_if(|(id, _)| *id == reset);
            }
        }
        let mut budget = if now < self.link.round_trip { 0.0 } else { self.link.rate(now) * STEP };
        while budget > 0.0 {
            if self.under_way.is_none() {
                let with_bytes = |segment| (segment, segment_bytes(self.chunks, segment) as f64);
                let batch = self.sender.next_batch(&refs);
                self.under_way = batch.map(|(id, segments)| (id, segments.into_iter().rev().map(with_bytes).collect()));
            }
            let Some((id, segments)) = &mut self.under_way else { break };
            let (segment, left) = segments.last_mut().expect("a batch has segments");
            let sent = left.min(budget);
            (*left, budget) = (*left - sent, budget - sent);
            self.forth.push_back((now + self.link.round_trip / 2.0, *segment, sent.round() as u64));
            if *left <= 0.0 {
                segments.pop();
                if segments.is_empty() {
                    self.sender.sent(*id);
                    self.under_way = None;
                }
            }
        }
    }

    /// Takes what has arrived.
    fn arrived(&mut self, now: f64) -> Option<(SegmentRef, u64)> {
        self.forth.front().filter(|(at, ..)| *at <= now)?;
        self.forth.pop_front().map(|(_, segment, bytes)| (segment, bytes))
    }
}

/// Decodes one chunk at a time: those with nothing decoded first, from the back.
#[derive(Default)]
struct Decoder {
    /// The chunk, the quality layers that it will have, and when.
    at_work: Option<(usize, u8, f64)>,
}

impl Decoder {
    fn step(&mut self, now: f64, loads: &mut [ChunkLoad], computed: usize, goal: Goal, costs: EngineCosts) {
        if let Some((idx, qualities, _)) = self.at_work.take_if(|(.., at)| *at <= now) {
            loads[idx].decoded = qualities;
        }
        let is_better = |(idx, load): &(usize, &ChunkLoad)| {
            *idx >= computed && load.arrived().min(goal.qualities) >= goal.needed() && !load.is_ready(load.arrived())
        };
        let next = loads.iter().enumerate().filter(is_better).max_by_key(|(idx, load)| (load.decoded == 0, *idx));
        if let (None, Some((idx, load))) = (self.at_work, next) {
            self.at_work = Some((idx, load.arrived(), now + load.kv_bytes as f64 / costs.decode_bytes_per_sec));
        }
    }
}

/// Computes from the front: in short steps while it does not know of any chunk, then chunk by chunk.
#[derive(Default)]
struct SimulatedEngine {
    held_tokens: u64,
    /// Up to which token it computes, and when it is done.
    step: Option<(u64, f64)>,
}

impl SimulatedEngine {
    fn begin(&mut self, now: f64, end: u64, costs: EngineCosts) {
        self.step = Some((end, now + costs.compute_secs(self.held_tokens, end - self.held_tokens)));
    }

    /// Whether it is at work on what it began before the manifest came.
    fn is_ahead(&mut self, now: f64, link: &Link, costs: EngineCosts, all_tokens: u64) -> bool {
        if let Some((end, _)) = self.step.take_if(|(_, at)| *at <= now) {
            self.held_tokens = end;
        }
        let is_unanswered = now < link.round_trip && self.held_tokens < all_tokens;
        if is_unanswered && self.step.is_none() && costs.secs_per_token.is_finite() {
            self.begin(now, all_tokens.min(self.held_tokens + AHEAD_TOKENS), costs);
        }
        let is_short = self.step.is_some_and(|(end, _)| !end.is_multiple_of(CHUNK_TOKENS.into()));
        is_unanswered || is_short
    }

    fn computed(&self, loads: &[ChunkLoad]) -> usize {
        loads.len().min((self.held_tokens / u64::from(CHUNK_TOKENS)) as usize)
    }

    fn ahead_tokens(&self) -> u64 {
        self.held_tokens % u64::from(CHUNK_TOKENS)
    }
}

/// Runs a fetch: depot, link, receiver and engine, a millisecond at a time.
fn simulate(link: &Link, chunks: &[ChunkContent], costs: EngineCosts, goal: Goal) -> Outcome {
    let mut wire = Wire::new(link, chunks, goal);
    let mut loads = loads(chunks);
    let mut arrivals = Arrivals::default();
    let mut wants = Wants::new(0, goal.qualities);
    let mut decoder = Decoder::default();
    let all_tokens = chunks.len() as u64 * u64::from(CHUNK_TOKENS);
    let mut engine = SimulatedEngine::default();
    for now in (0u64..).map(|step| step as f64 * STEP) {
        assert!(now < 120.0, "{}: a fetch that does not end", link.name);
        let elapsed = Duration::from_secs_f64(now);
        wire.send(now);
        while let Some((segment, bytes)) = wire.arrived(now) {
            let load = &mut loads[segment.chunk_idx as usize];
            let quality = usize::from(segment.key.quality);
            // Rounding of parts of a segment must not leave a byte behind.
            load.arrived_bytes[quality] = (load.arrived_bytes[quality] + bytes + 8).min(load.quality_bytes[quality]);
            arrivals.record(elapsed, bytes);
        }
        if engine.is_ahead(now, link, costs, all_tokens) {
            continue;
        }
        let computed = engine.computed(&loads);
        decoder.step(now, &mut loads, computed, goal, costs);
        let (bytes_per_sec, is_computing) = (arrivals.bytes_per_sec(elapsed), engine.step.is_some());
        let ahead_tokens = engine.ahead_tokens();
        let state = State { elapsed, chunks: &loads, computed, ahead_tokens, is_computing, bytes_per_sec, costs, goal };
        let decision = decide(&state);
        if decision.wants != wants {
            wants = decision.wants;
            wire.back.push_back((now + link.round_trip / 2.0, wants));
        }
        match decision.engine {
            EngineStep::Compute if !is_computing => {
                engine.begin(now, (computed as u64 + 1) * u64::from(CHUNK_TOKENS), costs);
            }
            EngineStep::Finish => return outcome(now, &loads, computed),
            _ => {}
        }
    }
    unreachable!("the steps do not end")
}

fn outcome(now: f64, loads: &[ChunkLoad], computed: usize) -> Outcome {
    let loaded = &loads[computed..];
    let qualities = loaded.iter().map(|load| f64::from(load.decoded)).sum::<f64>() / loaded.len().max(1) as f64;
    Outcome { secs: now, computed, qualities }
}

/// Until so many bytes have come, from the request.
fn transfer_secs(link: &Link, bytes: u64) -> f64 {
    let (mut now, mut left) = (1.5 * link.round_trip, bytes as f64);
    while left > 0.0 {
        left -= link.rate(now) * STEP;
        now += STEP;
    }
    now
}

/// The best time of all choices of where to meet, by one who knows the link: the needed qualities of the chunks from there
/// on, and computing those before, at once; decoding overlaps both.
fn best_in_hindsight(link: &Link, chunks: &[ChunkContent], costs: EngineCosts, qualities: usize) -> f64 {
    let loads = loads(chunks);
    let bytes: Vec<u64> = loads.iter().map(|load| load.quality_bytes.iter().take(qualities).sum()).collect();
    let time = |meet: usize| {
        let compute = costs.compute_secs(0, meet as u64 * u64::from(CHUNK_TOKENS));
        let left: u64 = bytes[meet..].iter().sum();
        if left == 0 {
            return compute;
        }
        let decode = loads[0].kv_bytes as f64 / costs.decode_bytes_per_sec;
        let chunks_before_last = (chunks.len() - meet).saturating_sub(1) as f64;
        compute.max(transfer_secs(link, left).max(chunks_before_last * decode) + decode)
    };
    (0..=chunks.len()).map(time).fold(f64::INFINITY, f64::min)
}

/// 10,000 tokens per second, and 5 GB of KV decoded per second.
const ENGINE: EngineCosts =
    EngineCosts { secs_per_token: 1e-4, secs_per_attended_token: 5e-9, decode_bytes_per_sec: 5e9 };

fn links() -> Vec<Link> {
    let mut links: Vec<Link> =
        [("0.1 Gbit/s", 0.1), ("0.4 Gbit/s", 0.4), ("1 Gbit/s", 1.0), ("3 Gbit/s", 3.0), ("10 Gbit/s", 10.0)]
            .map(|(name, rate)| Link::steady(name, rate))
            .into();
    let far = [20e-3, 100e-3].map(|round_trip| Link { name: "far", round_trip, ..Link::steady("", 3.0) });
    links.extend(far);
    links.push(Link { name: "collapse", rates: vec![(0.15, gbit(3.0)), (f64::INFINITY, gbit(0.3))], round_trip: 1e-3 });
    links.push(Link { name: "recovery", rates: vec![(0.3, gbit(0.1)), (f64::INFINITY, gbit(5.0))], round_trip: 1e-3 });
    links
}

#[test]
fn two_ends_meet_within_a_tenth_of_the_best_in_hindsight() {
    for num_chunks in [6, 16, 64] {
        let chunks = context(num_chunks);
        for link in links() {
            for qualities in [1, 3] {
                let goal = Goal { qualities, deadline: None };
                let outcome = simulate(&link, &chunks, ENGINE, goal);
                let best = best_in_hindsight(&link, &chunks, ENGINE, usize::from(qualities));
                // A chunk is what one end may come too late by.
                let slack = ENGINE.compute_secs(num_chunks as u64 * 256, 256) + 3.0 * STEP;
                println!("{} chunks, {}, {qualities} layers: {outcome:?}, best {best:.3}", num_chunks, link.name);
                assert!(outcome.secs <= 1.1 * best + slack, "{}: {outcome:?}, best {best}", link.name);
            }
        }
    }
}

#[test]
fn a_collapse_costs_quality_and_not_the_deadline() {
    let chunks = context(24);
    let deadline = 0.5;
    let goal = Goal { qualities: 3, deadline: Some(Duration::from_secs_f64(deadline)) };
    let steady = Link::steady("steady", 6.0);
    let collapse =
        Link { name: "collapse", rates: vec![(0.1, gbit(6.0)), (f64::INFINITY, gbit(0.6))], round_trip: 1e-3 };
    let [steady, collapse] = [steady, collapse].map(|link| simulate(&link, &chunks, ENGINE, goal));
    println!("{steady:?}\n{collapse:?}");
    assert!(steady.secs <= deadline + 2.0 * STEP && collapse.secs <= deadline + 2.0 * STEP, "{steady:?} {collapse:?}");
    assert!(steady.qualities > collapse.qualities && collapse.qualities >= 1.0, "{steady:?} {collapse:?}");
}

#[test]
fn a_deadline_that_the_base_can_make_is_made() {
    for link in links() {
        let chunks = context(32);
        let best = best_in_hindsight(&link, &chunks, ENGINE, 1);
        let deadline = 1.25 * best + ENGINE.compute_secs(8_192, 256);
        let goal = Goal { qualities: 3, deadline: Some(Duration::from_secs_f64(deadline)) };
        let outcome = simulate(&link, &chunks, ENGINE, goal);
        println!("{}: {outcome:?}, deadline {deadline:.3}", link.name);
        assert!(outcome.secs <= deadline + 2.0 * STEP, "{}: {outcome:?}, deadline {deadline}", link.name);
    }
}

/// CacheGen's traces: the rate is drawn anew, uniformly, each tenth of a second; the mean is 3 Gbit/s.
fn uniform_link(seed: u64) -> Link {
    let mut state = seed;
    let mut draw = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as f64 / (1u64 << 31) as f64
    };
    let rates = (1..1_000).map(|tenth| (f64::from(tenth) / 10.0, gbit(0.06 + 5.88 * draw())));
    Link { name: "uniform", rates: rates.collect(), round_trip: 1e-3 }
}

#[test]
fn bandwidth_drawn_anew_all_the_time_keeps_the_deadline_and_beats_text_and_int8() {
    let (mut violations, mut runs) = (0, 0);
    let mut all = [0.0; 3];
    for num_chunks in [6, 16, 32, 62] {
        let chunks = context(num_chunks);
        let tokens = num_chunks as u64 * u64::from(CHUNK_TOKENS);
        let mut sums = [0.0; 3];
        for seed in 0..20 {
            let link = uniform_link(seed);
            let ours = simulate(&link, &chunks, ENGINE, Goal { qualities: 1, deadline: None }).secs;
            let [text, int8] = [ENGINE.compute_secs(0, tokens), transfer_secs(&link, tokens * TOKEN_BYTES / 2)];
            sums.iter_mut().zip([ours, text, int8]).for_each(|(sum, secs)| *sum += secs / 20.0);
            let goal = Goal { qualities: 3, deadline: Some(Duration::from_secs(1)) };
            violations += usize::from(simulate(&link, &chunks, ENGINE, goal).secs > 1.0 + 2.0 * STEP);
            runs += 1;
        }
        println!("{tokens} tokens, seconds: controller {:.3}, text {:.3}, int8 {:.3}", sums[0], sums[1], sums[2]);
        all.iter_mut().zip(sums).for_each(|(all, sum)| *all += sum);
    }
    let [ours, text, int8] = all;
    println!("{:.2}x sooner than the better of text and int8", text.min(int8) / ours);
    assert!(text.min(int8) / ours >= 2.7, "{all:?}");
    println!("{violations} of {runs} miss a deadline of 1 s");
    assert!(violations * 100 <= runs * 8);
}

#[test]
fn without_an_engine_everything_is_loaded() {
    let costs = EngineCosts { secs_per_token: f64::INFINITY, ..ENGINE };
    let outcome = simulate(&Link::steady("1 Gbit/s", 1.0), &context(8), costs, Goal { qualities: 2, deadline: None });
    assert_eq!((outcome.computed, outcome.qualities), (0, 2.0));
}
