//! Requests of one prefix group, decoded together step by step.

use std::time::Instant;

use super::member::Member;
use super::{GroupReport, Pace, Prefix, Request, Runner, Sharing};
use crate::model::{Span, WantedLogits};
use crate::rows::Rows;
use crate::{AttentionWork, Result};

impl Runner {
    /// Decodes `requests` over `prefix`, all together; requests that finish leave.
    ///
    /// Each step takes all requests that decode, and [`Settings::step_tokens`](super::Settings::step_tokens) tokens of
    /// suffixes still to be computed. A request's completion is the same, bit for bit, alone or in any group, with
    /// [`Sharing`] on or off.
    ///
    /// # Errors
    /// `Invalid` for a request without a context or without tokens to decode, for sampling that means nothing, and as in
    /// [`Self::prefill`]; `Busy` when the worst case of all requests does not fit the pool; `Corrupt` when logits are
    /// not numbers.
    pub fn decode_group(&self, prefix: &Prefix, requests: &[Request], sharing: Sharing) -> Result<GroupReport> {
        let mut members: Vec<Member<&Request>> =
            requests.iter().map(|request| self.admit(prefix, request)).collect::<Result<_>>()?;
        let (mut suffixes, mut decode) = (Pace::default(), Pace::default());
        let mut decode_attention = AttentionWork::default();
        while members.iter().any(|member| !member.is_finished) {
            let (started, before) = (Instant::now(), self.model.attention_work());
            let takes = self.takes(&members);
            let logits = self.step_group(&mut members, &takes, sharing);
            advance(&mut members, &takes, &logits)?;
            let tokens: usize = takes.iter().sum();
            if takes.iter().all(|&take| take <= 1) {
                decode.count(tokens, started.elapsed());
                decode_attention += self.model.attention_work() - before;
            } else {
                suffixes.count(tokens, started.elapsed());
            }
        }
        let completions = members.into_iter().map(|member| member.completion).collect();
        Ok(GroupReport { completions, suffixes, decode, decode_attention })
    }

    /// Takes pages for the worst case. The last token of the context is always computed: its logits are the first.
    fn admit<'a>(&self, prefix: &Prefix, request: &'a Request) -> Result<Member<&'a Request>> {
        let context = prefix.tokens.len() + request.suffix.len();
        self.check_request(request, context)?;
        let reused = prefix.tokens.len().min(context - 1);
        let sequence = prefix.sequence.fork(&self.pool, reused, context + request.max_tokens - 1)?;
        Ok(Member::new(request, sequence, [&prefix.tokens[reused..], &request.suffix].concat()))
    }

    /// Pending tokens that each member computes in the next step: single ones always, longer runs within the budget.
    fn takes(&self, members: &[Member<&Request>]) -> Vec<usize> {
        let mut budget = self.settings.step_tokens.max(1);
        let take = |member: &Member<&Request>| match member.pending.len() {
            _ if member.is_finished => 0,
            1 => 1,
            pending => {
                let take = pending.min(budget);
                budget -= take;
                take
            }
        };
        members.iter().map(take).collect()
    }

    /// Computes the taken tokens: logits of the members whose pending tokens are all taken, in order.
    fn step_group(&self, members: &mut [Member<&Request>], takes: &[usize], sharing: Sharing) -> Rows {
        let mut spans: Vec<Span<'_>> = members
            .iter_mut()
            .zip(takes)
            .filter(|(_, take)| **take > 0)
            .map(|(member, &take)| Span {
                tokens: &member.pending[..take],
                sequence: &mut member.sequence,
                logits: if take == member.pending.len() { WantedLogits::Last } else { WantedLogits::None },
            })
            .collect();
        self.model.step(&mut spans, sharing)
    }
}

/// Takes the logits of the members whose pending tokens were all computed, in order.
fn advance(members: &mut [Member<&Request>], takes: &[usize], logits: &Rows) -> Result<()> {
    let mut row = 0;
    for (member, &take) in members.iter_mut().zip(takes).filter(|(_, take)| **take > 0) {
        row += usize::from(member.advance(take, || logits.row(row))?);
    }
    Ok(())
}
