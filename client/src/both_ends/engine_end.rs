//! The engine's end.

use std::time::{Duration, Instant};

use kvdepot_proto::stream::{Decision, EngineCosts, EngineStep, Reason, State, Wants, decide};
use tokio::sync::watch;

use super::board::{Board, Contents};
use super::report::words;
use super::{Engine, Step};

/// Longest wait before the decision is looked at again: bandwidth that falls shows in what does not come.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// Least tokens of a step before the manifest; the first one says what computing takes.
const STEP_TOKENS: usize = 16;
/// What a later step takes at most: so long the engine may go on after it could have stopped.
const STEP_SECS: f64 = 0.01;
/// Why what is computed before the manifest is.
const AHEAD: &str = "computing: the depot has not answered yet";
/// Of an engine that has computed and decoded nothing yet.
const UNKNOWN_COSTS: EngineCosts =
    EngineCosts { secs_per_token: STEP_SECS, secs_per_attended_token: 0.0, decode_bytes_per_sec: f64::INFINITY };

/// The engine's end.
pub(super) struct EngineEnd<'a, E: Engine> {
    engine: &'a mut E,
    board: &'a Board<E::Kv>,
    say: &'a watch::Sender<Wants>,
    /// Tokens of the context.
    num_tokens: usize,
    /// Tokens whose KV the engine has computed.
    held_tokens: usize,
    costs: EngineCosts,
    met: Met,
}

/// Where the ends met.
pub(super) struct Met {
    /// Why each chunk was computed, of the leading ones that were.
    pub(super) computed: Vec<String>,
    /// Why it ended.
    pub(super) end: Option<Reason>,
    pub(super) steps: Vec<Step>,
}

impl<'a, E: Engine> EngineEnd<'a, E> {
    pub(super) fn new(
        engine: &'a mut E,
        board: &'a Board<E::Kv>,
        say: &'a watch::Sender<Wants>,
        num_tokens: usize,
    ) -> Self {
        let met = Met { computed: Vec::new(), end: None, steps: Vec::new() };
        let costs = engine.costs().unwrap_or(UNKNOWN_COSTS);
        Self { engine, board, say, num_tokens, held_tokens: 0, costs, met }
    }

    /// Computes chunk after chunk until the rest has come and is decoded, or never will be.
    pub(super) fn meet(mut self) -> Result<Met, E::Error> {
        self.compute_ahead()?;
        let mut contents = self.board.lock();
        self.count_ahead(&contents);
        loop {
            let decision = self.decide(&mut contents);
            match decision.engine {
                EngineStep::Compute => {
                    let end = leading_tokens(&contents, self.met.computed.len() + 1);
                    drop(contents);
                    self.compute_until(end)?;
                    self.met.computed.push(words(decision.reason));
                    contents = self.board.lock();
                }
                EngineStep::Wait if !contents.has_ended || contents.is_decoding(self.board.goal) => {
                    contents = self.board.wait(contents, LOOK_AGAIN);
                }
                EngineStep::Wait | EngineStep::Finish => break,
            }
        }
        let (whole, is_met) = (self.whole_tokens(&contents), self.met.computed.len() < contents.loads.len());
        contents.close();
        drop(contents);
        if is_met && self.held_tokens > whole {
            self.engine.truncate(whole)?;
        }
        Ok(self.met)
    }

    /// Computes from the front while it is not known what will come, in steps that are soon over.
    fn compute_ahead(&mut self) -> Result<(), E::Error> {
        if self.costs.secs_per_token.is_infinite() {
            drop(self.board.wait_for_manifest());
        }
        while self.held_tokens < self.num_tokens && (self.is_unmeasured() || !self.board.has_begun()) {
            let step_tokens = (STEP_SECS / self.costs.secs_per_token) as usize;
            let end = self.held_tokens.saturating_add(step_tokens.max(STEP_TOKENS));
            self.compute_until(end.min(self.num_tokens))?;
        }
        Ok(())
    }

    /// Whether it is not known what computing takes.
    fn is_unmeasured(&self) -> bool {
        self.held_tokens == 0 && self.engine.costs().is_none()
    }

    /// Takes note of the chunks that were computed before it was known that they are chunks.
    fn count_ahead(&mut self, contents: &Contents<E::Kv>) {
        if self.held_tokens > 0 {
            self.met.steps.push(Step { ms: 0.0, chunk: 0, what: AHEAD.to_owned() });
        }
        while self.met.computed.len() < contents.loads.len()
            && leading_tokens(contents, self.met.computed.len() + 1) <= self.held_tokens
        {
            self.met.computed.push(AHEAD.to_owned());
        }
    }

    /// Tokens of the chunks that are computed.
    fn whole_tokens(&self, contents: &Contents<E::Kv>) -> usize {
        leading_tokens(contents, self.met.computed.len())
    }

    /// Computes up to the `end`-th token, and learns what a token takes where that is not known.
    fn compute_until(&mut self, end: usize) -> Result<(), E::Error> {
        let (num_tokens, started) = (end - self.held_tokens, Instant::now());
        self.engine.compute(end)?;
        self.held_tokens = end;
        if self.engine.costs().is_none() && num_tokens > 0 {
            self.costs.secs_per_token = started.elapsed().as_secs_f64() / num_tokens as f64;
        }
        Ok(())
    }

    /// Decides, says so to network and decoder, and notes it.
    fn decide(&mut self, contents: &mut Contents<E::Kv>) -> Decision {
        let elapsed = self.board.started.elapsed();
        let measured = contents.decoded.bytes_per_sec();
        let decode_bytes_per_sec = measured.unwrap_or(self.costs.decode_bytes_per_sec);
        let ahead_tokens = self.held_tokens.saturating_sub(self.whole_tokens(contents)) as u64;
        let decision = decide(&State {
            elapsed,
            bytes_per_sec: contents.bytes_per_sec(elapsed),
            chunks: &contents.loads,
            computed: self.met.computed.len(),
            ahead_tokens,
            is_computing: false,
            costs: EngineCosts { decode_bytes_per_sec, ..self.costs },
            goal: self.board.goal,
        });
        let is_next = usize::from(decision.engine == EngineStep::Compute);
        contents.first_chunk = self.met.computed.len() + is_next;
        let Decision { wants, .. } = decision;
        self.say.send_if_modified(|said| said.adjust(wants.first_chunk(), wants.max_qualities()));
        self.met.note(elapsed, decision.reason);
        decision
    }
}

impl Met {
    /// Notes a decision that differs from the last one.
    fn note(&mut self, elapsed: Duration, reason: Reason) {
        let (what, chunk) = (words(reason), self.computed.len());
        if self.steps.last().is_none_or(|last| last.what != what) {
            self.steps.push(Step { ms: 1e3 * elapsed.as_secs_f64(), chunk, what });
        }
        self.end = Some(reason);
    }
}

/// Tokens of the first `num_chunks` chunks.
fn leading_tokens<K>(contents: &Contents<K>, num_chunks: usize) -> usize {
    contents.loads.iter().take(num_chunks).map(|load| load.num_tokens as usize).sum()
}
