//! A context's way into pages: from the depot as far as it is stored, computed from there on.

use std::time::{Duration, Instant};

use kvdepot_client::{BothEndsReport, LayersReport};
use kvdepot_engine::{Prefix, Runner};
use kvdepot_proto::Scope;
use kvdepot_proto::stream::Goal;

use super::depot::{Depot, Loaded};
use super::progress;

/// A context, ready to decode over.
pub(super) struct Context {
    pub(super) prefix: Prefix,
    /// Tokens that came from the depot: leading ones, or those behind what was computed where the two overlapped.
    pub(super) cached_tokens: usize,
    /// Why the depot did not have the rest.
    pub(super) miss_reason: Option<String>,
    /// Bytes that came over the data plane.
    pub(super) payload_bytes: u64,
    /// What each chunk came to be, where the two overlapped.
    pub(super) fetch: Option<BothEndsReport>,
    /// How it came, where that was layer by layer.
    pub(super) layers: Option<LayersReport>,
    /// From asking the depot until the first logits, where they were computed meanwhile.
    pub(super) ttft: Option<Duration>,
    /// From asking the depot until the last token's KV lay in pages.
    pub(super) elapsed: Duration,
}

impl Context {
    /// As [`Self::obtain`], but loading and computing overlap: from the front is computed what has not come from the back.
    pub(super) fn obtain_from_both_ends(
        runner: &Runner,
        (depot, scope): (&Depot, &Scope),
        tokens: &[u32],
        goal: Goal,
    ) -> anyhow::Result<Self> {
        let started = Instant::now();
        let (mut prefix, report) = depot.load_from_both_ends(runner, (scope, tokens), goal)?;
        let start = prefix.tokens().len();
        runner.prefill(&mut prefix, &tokens[start..], |_| {})?;
        Ok(Self {
            prefix,
            cached_tokens: report.loaded_tokens(),
            miss_reason: report.failure.clone(),
            payload_bytes: report.payload_bytes,
            fetch: Some(report),
            layers: None,
            ttft: None,
            elapsed: started.elapsed(),
        })
    }

    /// As [`Self::obtain`], but computes the first tokens of `suffix` while layers of the stored prefix come. Whatever keeps it from
    /// coming, everything is computed then.
    pub(super) fn obtain_layerwise(
        runner: &Runner,
        (depot, scope): (&Depot, &Scope),
        tokens: &[u32],
        suffix: &[u32],
    ) -> anyhow::Result<Self> {
        if suffix.is_empty() {
            return Self::obtain(runner, Some((depot, scope)), tokens);
        }
        let started = Instant::now();
        match depot.load_layerwise(runner, (scope, tokens), suffix) {
            Ok(loaded) => Ok(Self {
                cached_tokens: loaded.matched_tokens,
                miss_reason: None,
                payload_bytes: loaded.report.payload_bytes,
                fetch: None,
                layers: Some(loaded.report),
                ttft: Some(loaded.ttft),
                elapsed: started.elapsed(),
                prefix: loaded.prefix,
            }),
            Err(error) => match error.downcast::<kvdepot_client::Error>() {
                Ok(missed) => {
                    let context = Self::obtain(runner, None, tokens)?;
                    Ok(Self { miss_reason: Some(missed.to_string()), elapsed: started.elapsed(), ..context })
                }
                Err(error) => Err(error),
            },
        }
    }

    /// Brings `tokens` into pages: what `depot` has is loaded, the rest is computed.
    pub(super) fn obtain(runner: &Runner, depot: Option<(&Depot, &Scope)>, tokens: &[u32]) -> anyhow::Result<Self> {
        let started = Instant::now();
        let loaded = match depot {
            Some((depot, scope)) => depot.load(runner, scope, tokens)?,
            None => Loaded::default(),
        };
        let mut prefix = loaded.prefix;
        let cached_tokens = prefix.tokens().len();
        let bar = progress::tokens("prefill", tokens.len() - cached_tokens);
        runner.prefill(&mut prefix, &tokens[cached_tokens..], |prefix| {
            bar.set_position((prefix.tokens().len() - cached_tokens) as u64);
        })?;
        bar.finish_and_clear();
        Ok(Self {
            prefix,
            cached_tokens,
            miss_reason: loaded.miss_reason,
            payload_bytes: loaded.payload_bytes,
            fetch: None,
            layers: None,
            ttft: None,
            elapsed: started.elapsed(),
        })
    }
}
