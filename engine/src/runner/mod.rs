//! Prefill once, decode many: prefixes and the groups of requests over them.
//!
//! Owns the order of steps and the admission of requests. What is admitted runs to its end: pages for the worst case
//! are taken at the start, or the call is refused as `Busy` and nothing has changed.

mod batch;
mod continuation;
mod group;
mod layers;
mod member;
mod online;
mod prefix;
mod report;
mod source;

use kvdepot_codec::Geometry;

pub use batch::{BatchObserver, BatchReport, Ended, Progress};
pub use continuation::Logits;
pub use layers::LayerFeed;
pub use online::Online;
pub use prefix::Prefix;
pub use report::{Completion, FinishReason, GroupReport, Pace};
pub use source::{Arrival, Computed, KvSource, Load, LoadedChunk, NoSource};

use crate::kv::{KvPool, Sequence};
use crate::model::{Span, WantedLogits};
use crate::plan::RequestShape;
use crate::rows::Rows;
use crate::{Error, Model, Result, Sampling};

/// Limits of a runner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Most bytes of KV pages.
    pub kv_limit_bytes: usize,
    /// Tokens of prefill that one step takes; the tokens that are decoded come on top.
    pub step_tokens: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { kv_limit_bytes: 4 << 30, step_tokens: 256 }
    }
}

/// Whether requests read what they have in common together.
///
/// It changes how often memory is read, and not a bit of any result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// Queries of all requests are stacked over each page that they share.
    On,
    /// Each request reads its whole context by itself.
    Off,
}

/// What is asked about a prefix.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// Tokens that follow the prefix; may be empty.
    pub suffix: Vec<u32>,
    /// Most tokens to decode; at least 1.
    pub max_tokens: usize,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Tokens that end the completion, and are part of it.
    pub stop_tokens: Vec<u32>,
    /// How many of the most probable tokens are told at each token.
    pub top_logprobs: usize,
}

impl<'a> From<&'a Request> for RequestShape<'a> {
    /// A request whose suffix is its whole context.
    fn from(request: &'a Request) -> Self {
        Self { context: &request.suffix, max_tokens: request.max_tokens, stored_tokens: 0 }
    }
}

/// A model with memory to run in.
///
/// Work is spread over the threads of the current rayon pool; their number changes no result.
///
/// # Examples
/// ```no_run
/// use kvdepot_engine::{Model, Request, Runner, Sampling, Settings, Sharing};
///
/// let runner = Runner::new(Model::load("model".as_ref(), None)?, Settings::default());
/// let mut prefix = Prefix::default();
/// runner.prefill(&mut prefix, &[0, 40, 822, 298], |_| {})?;
/// let sampling = Sampling::default();
/// let request = Request { suffix: vec![637], max_tokens: 8, sampling, stop_tokens: vec![], top_logprobs: 0 };
/// let report = runner.decode_group(&prefix, &[request], Sharing::On)?;
/// println!("{:?}", report.completions[0].tokens);
/// # use kvdepot_engine::Prefix;
/// # Ok::<(), kvdepot_engine::Error>(())
/// ```
#[derive(Debug)]
pub struct Runner {
    model: Model,
    pool: KvPool,
    settings: Settings,
}

impl Runner {
    /// A runner with an empty pool.
    pub fn new(model: Model, settings: Settings) -> Self {
        let pool = KvPool::new(model.layout(), settings.kv_limit_bytes);
        Self { model, pool, settings }
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Memory for KV.
    pub fn pool(&self) -> &KvPool {
        &self.pool
    }

    /// Shape of the chunks that [`Self::export`] gives and [`Self::import`] takes.
    pub fn geometry(&self) -> Geometry {
        self.pool.layout().geometry
    }

    /// Logits after the last of `tokens`: `[vocab_size]`.
    ///
    /// # Errors
    /// As [`Self::prefill`]; `Invalid` without tokens.
    #[doc(hidden)]
    pub fn last_logits(&self, tokens: &[u32]) -> Result<Vec<f32>> {
        let (last, rest) = tokens.split_last().ok_or_else(|| Error::Invalid("no tokens".to_owned()))?;
        let mut prefix = Prefix::default();
        self.prefill(&mut prefix, rest, |_| {})?;
        self.check_tokens(&[*last], tokens.len())?;
        let mut sequence = prefix.sequence.fork(&self.pool, rest.len(), tokens.len())?;
        Ok(step_alone(&self.model, &mut sequence, &[*last], WantedLogits::Last).row(0).to_vec())
    }

    /// Refuses a request, whose suffix is its whole context, that means nothing or that the model cannot take.
    ///
    /// # Errors
    /// `Invalid`, as the methods that run requests say it.
    pub fn check(&self, request: &Request) -> Result<()> {
        self.check_request(request, request.suffix.len())
    }

    /// As [`Self::check`], with `context` tokens in all.
    fn check_request(&self, request: &Request, context: usize) -> Result<()> {
        request.sampling.check()?;
        if context == 0 || request.max_tokens == 0 {
            return Err(Error::Invalid(format!(
                "a request of {context} tokens of context and {} to decode: both must be at least 1",
                request.max_tokens
            )));
        }
        self.check_tokens(&request.suffix, context.saturating_add(request.max_tokens - 1))
    }

    /// Refuses tokens outside the vocabulary and contexts whose attention would not be exact.
    fn check_tokens(&self, tokens: &[u32], context: usize) -> Result<()> {
        let config = self.model.config();
        if let Some(token) = tokens.iter().find(|&&token| token as usize >= config.vocab_size) {
            return Err(Error::Invalid(format!("token {token} is outside the vocabulary of {}", config.vocab_size)));
        }
        let limit = config.max_context;
        if context > limit.num_tokens {
            let why = if limit.by_sliding_window { "sliding window, which is not computed," } else { "context" };
            return Err(Error::Invalid(format!(
                "{context} tokens are more than the model's {why} of {}",
                limit.num_tokens
            )));
        }
        Ok(())
    }
}

/// Computes `tokens` of one sequence that has pages for them, and gives the wanted logits.
fn step_alone(model: &Model, sequence: &mut Sequence, tokens: &[u32], logits: WantedLogits) -> Rows {
    let span = Span { tokens, sequence, logits };
    model.step(&mut [span], Sharing::On)
}
