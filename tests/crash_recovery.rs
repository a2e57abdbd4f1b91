//! Nothing acknowledged is lost and nothing half-written is ever visible, whenever the daemon is killed.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kvdepot_client::{Client, EncodedChunk, FetchRequest};
use kvdepot_codec::{Dtype, EncodeOptions, Geometry, KvChunk, Level, encode};
use kvdepot_proto::{KvSpec, Rope, Scope};
use kvdepot_tests::DepotProcess;
use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

const ROUNDS: usize = 60;
const SEED: u64 = 0x6b76_6465_706f_7401;
const CHUNK_TOKENS: usize = 32;
/// Puts under way at a time.
const WRITERS: usize = 3;
/// Contexts that each of them tries to put before the daemon is killed.
const CONTEXTS: usize = 8;

/// A context that was put, or that somebody tried to put.
#[derive(Clone)]
struct Context {
    tokens: Vec<u32>,
    chunks: Vec<KvChunk>,
    /// Leading tokens that it shares with a context that was acknowledged before.
    shared_tokens: usize,
}

#[test]
fn a_daemon_killed_during_puts_keeps_every_acknowledged_context_whole_and_no_half_context() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = Runtime::new().unwrap();
    let mut rng = StdRng::seed_from_u64(SEED);
    println!("seed {SEED:#x}");
    let (mut acknowledged, mut unanswered): (Vec<Context>, Vec<Context>) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let depot = DepotProcess::start(dir.path(), &[("store.chunk_tokens", &CHUNK_TOKENS.to_string())]).unwrap();
        let client = runtime.block_on(Client::connect(&depot.connect_options())).unwrap();
        runtime.block_on(check_whole(&client, &acknowledged));
        runtime.block_on(check_whole_or_absent(&client, &unanswered));
        unanswered.clear();
        let writers: Vec<_> = (0..WRITERS)
            .map(|_| (0..CONTEXTS).map(|_| Context::draw(&mut rng, &acknowledged)).collect())
            .map(|contexts| Writer::start(&runtime, client.clone(), contexts))
            .collect();
        std::thread::sleep(Duration::from_micros(rng.random_range(0..200_000)));
        depot.kill9().unwrap();
        for writer in writers {
            let (done, rest) = writer.stop();
            acknowledged.extend(done);
            unanswered.extend(rest);
        }
        println!("round {round}: {} acknowledged so far, {} unanswered", acknowledged.len(), unanswered.len());
    }
    assert!(acknowledged.len() >= ROUNDS, "only {} contexts were acknowledged", acknowledged.len());
}

/// Puts contexts one after the other.
struct Writer {
    contexts: Arc<Vec<Context>>,
    /// How many of them, from the first, were acknowledged.
    num_acknowledged: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Writer {
    fn start(runtime: &Runtime, client: Client, contexts: Vec<Context>) -> Self {
        let (contexts, num_acknowledged) = (Arc::new(contexts), Arc::new(AtomicUsize::new(0)));
        let task = runtime.spawn(put_all(client, contexts.clone(), num_acknowledged.clone()));
        Self { contexts, num_acknowledged, task }
    }

    /// Stops at once: a put to a daemon that is gone would wait for its timeout. Gives the contexts that were
    /// acknowledged, and the rest.
    fn stop(self) -> (Vec<Context>, Vec<Context>) {
        self.task.abort();
        let (done, rest) = self.contexts.split_at(self.num_acknowledged.load(Ordering::SeqCst));
        (done.to_vec(), rest.to_vec())
    }
}

async fn put_all(client: Client, contexts: Arc<Vec<Context>>, num_acknowledged: Arc<AtomicUsize>) {
    for context in contexts.iter() {
        if let Err(error) = client.put(&scope(), &context.tokens, &context.encoded(), |_| {}).await {
            println!("a put failed: {error}");
            return;
        }
        num_acknowledged.fetch_add(1, Ordering::SeqCst);
    }
}

/// What was acknowledged comes back whole, bit for bit.
async fn check_whole(client: &Client, contexts: &[Context]) {
    for context in contexts {
        let fetched = client.fetch_kv(&FetchRequest::tokens(scope(), context.tokens.clone()), |_| {}).await.unwrap();
        assert!(
            fetched.chunks == context.chunks,
            "{} tokens of {}",
            fetched.manifest.end_token(),
            context.tokens.len()
        );
    }
}

/// What was not acknowledged is there whole, or not beyond what it shares with others.
async fn check_whole_or_absent(client: &Client, contexts: &[Context]) {
    for context in contexts {
        let matched = client.matches(&scope(), &context.tokens).await.unwrap().matched_tokens;
        assert!(
            matched == context.tokens.len() || matched == context.shared_tokens,
            "half a context is visible: {matched} of {} tokens, {} of them shared",
            context.tokens.len(),
            context.shared_tokens
        );
        if matched == context.tokens.len() {
            check_whole(client, std::slice::from_ref(context)).await;
        }
    }
}

impl Context {
    /// Draws a context of one to six chunks; half of them continue one that was acknowledged.
    fn draw(rng: &mut StdRng, acknowledged: &[Self]) -> Self {
        let mut context = Self { tokens: Vec::new(), chunks: Vec::new(), shared_tokens: 0 };
        if !acknowledged.is_empty() && rng.random() {
            let other = &acknowledged[rng.random_range(0..acknowledged.len())];
            let whole = other.tokens.len() / CHUNK_TOKENS;
            context.tokens = other.tokens[..whole * CHUNK_TOKENS].to_vec();
            context.chunks = other.chunks[..whole].to_vec();
            context.shared_tokens = context.tokens.len();
        }
        for _ in 0..rng.random_range(0..6) {
            context.push_chunk(rng, CHUNK_TOKENS);
        }
        let last = rng.random_range(1..=CHUNK_TOKENS);
        context.push_chunk(rng, last);
        context
    }

    fn push_chunk(&mut self, rng: &mut StdRng, num_tokens: usize) {
        let mut bytes = vec![0; geometry().kv_bytes(num_tokens)];
        rng.fill_bytes(&mut bytes);
        self.tokens.extend((0..num_tokens).map(|_| rng.random_range(0..100_000)));
        self.chunks.push(KvChunk::from_bytes(geometry(), num_tokens, bytes).unwrap());
    }

    fn encoded(&self) -> Vec<EncodedChunk> {
        let options = EncodeOptions::new(Level::Q0);
        let encode = |chunk| EncodedChunk { level: Level::Q0, segments: encode(chunk, &options).unwrap() };
        self.chunks.iter().map(encode).collect()
    }
}

fn geometry() -> Geometry {
    Geometry::new(4, 2, 64, Dtype::Bf16).unwrap()
}

fn scope() -> Scope {
    Scope::exact(KvSpec {
        model: "crash-test".to_owned(),
        weights_digest: [1; 32],
        tokenizer_digest: None,
        adapter: String::new(),
        geometry: geometry(),
        rope: Rope { kind: "default".to_owned(), theta: 10_000.0, parameters: Vec::new() },
        sliding_window: None,
    })
}
