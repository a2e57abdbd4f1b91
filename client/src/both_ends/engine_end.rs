//! The engine's end.

use std::time::{Duration, Instant};

use kvdepot_proto::stream::{Decision, EngineCosts, EngineStep, Reason, State, Wants, decide};
use tokio::sync::watch;

use super::board::{Board, Contents};
use super::{Engine, Step};

/// Longest wait before the decision is looked at again: bandwidth that falls shows in what does not come.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// Tokens by which it is found out what computing takes, before the first decision: meanwhile the first segments come.
const PROBE_TOKENS: usize = 16;

/// The engine's end.
pub(super) struct EngineEnd<'a, E: Engine> {
    engine: &'a mut E,
    board: &'a Board<E::Kv>,
    say: &'a watch::Sender<Wants>,
    /// Tokens whose KV the engine has computed.
    held_tokens: usize,
    met: Met,
}

/// Where the ends met.
pub(super) struct Met {
    /// Why each chunk was computed, of the leading ones that were.
    pub(super) computed: Vec<Reason>,
    /// Why it ended.
    pub(super) end: Option<Reason>,
    pub(super) steps: Vec<Step>,
}

impl<'a, E: Engine> EngineEnd<'a, E> {
    pub(super) fn new(engine: &'a mut E, board: &'a Board<E::Kv>, say: &'a watch::Sender<Wants>) -> Self {
        let met = Met { computed: Vec::new(), end: None, steps: Vec::new() };
        Self { engine, board, say, held_tokens: 0, met }
    }

    /// Computes chunk after chunk until the rest has come and is decoded, or never will be.
    pub(super) fn meet(mut self) -> Result<Met, E::Error> {
        let mut costs = self.known_costs()?;
        let mut contents = self.board.lock();
        loop {
            let decision = self.decide(&mut contents, costs);
            match decision.engine {
                EngineStep::Compute => {
                    let end = leading_tokens(&contents, self.met.computed.len() + 1);
                    drop(contents);
                    let secs_per_token = self.compute_until(end)?;
                    self.met.computed.push(decision.reason);
                    if self.engine.costs().is_none() {
                        costs.secs_per_token = secs_per_token;
                    }
                    contents = self.board.lock();
                }
                EngineStep::Wait if !contents.has_ended || contents.is_decoding(self.board.goal) => {
                    contents = self.board.wait(contents, LOOK_AGAIN);
                }
                EngineStep::Wait | EngineStep::Finish => break,
            }
        }
        drop(contents);
        if self.met.computed.is_empty() {
            // What was computed to find out is not a whole chunk.
            self.engine.restart();
        }
        Ok(self.met)
    }

    /// What computing takes, found out if need be once there is something to load.
    fn known_costs(&mut self) -> Result<EngineCosts, E::Error> {
        let probe = leading_tokens(&self.board.wait_for_manifest(), 1).min(PROBE_TOKENS);
        if let Some(costs) = self.engine.costs() {
            return Ok(costs);
        }
        let secs_per_token = self.compute_until(probe)?;
        Ok(EngineCosts { secs_per_token, secs_per_attended_token: 0.0, decode_bytes_per_sec: f64::INFINITY })
    }

    /// Computes up to the `end`-th token; gives the seconds that a token took.
    fn compute_until(&mut self, end: usize) -> Result<f64, E::Error> {
        let (num_tokens, started) = (end - self.held_tokens, Instant::now());
        self.engine.compute(end)?;
        self.held_tokens = end;
        Ok(started.elapsed().as_secs_f64() / num_tokens.max(1) as f64)
    }

    /// Decides, says so to network and decoder, and notes it.
    fn decide(&mut self, contents: &mut Contents<E::Kv>, costs: EngineCosts) -> Decision {
        let elapsed = self.board.started.elapsed();
        let measured = contents.decoded.bytes_per_sec();
        let decode_bytes_per_sec = measured.unwrap_or(costs.decode_bytes_per_sec);
        let decision = decide(&State {
            elapsed,
            bytes_per_sec: contents.bytes_per_sec(elapsed),
            chunks: &contents.loads,
            computed: self.met.computed.len(),
            is_computing: false,
            costs: EngineCosts { decode_bytes_per_sec, ..costs },
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
        let (what, chunk) = (super::report::words(reason), self.computed.len());
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
