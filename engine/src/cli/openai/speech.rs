//! A completion as it is spoken: pieces of text that together are the text of the whole.

use kvdepot_client::Result;
use kvdepot_engine::{Choice, Completion, FinishReason, TextCodec};
use serde_json::{Value, json};

use super::respond::{decode, logprobs, stop_at, text_of};
use super::{Asked, Endpoint};

/// What a choice has said so far.
pub(in crate::cli) struct Speech<'a> {
    asked: &'a Asked,
    text: Option<&'a TextCodec>,
    /// Tokens from the last ones on that were said.
    tokens: Vec<u32>,
    /// Of those, how many were said.
    said_tokens: usize,
    said: String,
    /// Text that may be the beginning of a stop string.
    held: String,
    /// Tokens whose logarithms were not given.
    unsaid: Completion,
}

/// A piece of a choice.
pub(in crate::cli) struct Spoken {
    pub(in crate::cli) text: String,
    pub(in crate::cli) logprobs: Value,
}

impl<'a> Speech<'a> {
    pub(in crate::cli) fn new(asked: &'a Asked, text: Option<&'a TextCodec>) -> Self {
        let unsaid = Completion::default();
        Self { asked, text, tokens: Vec::new(), said_tokens: 0, said: String::new(), held: String::new(), unsaid }
    }

    /// Takes the next token, and the alternatives to it if they are told; gives a piece where it ends one.
    ///
    /// # Errors
    /// `Invalid` when tokens do not decode to text.
    pub(in crate::cli) fn push(&mut self, choice: Choice, alternatives: Option<Vec<Choice>>) -> Result<Option<Spoken>> {
        let Choice { token, logprob } = choice;
        self.unsaid.tokens.push(token);
        self.unsaid.logprobs.push(logprob);
        self.unsaid.top_logprobs.extend(alternatives);
        if !self.asked.requests.iter().any(|request| request.stop_tokens.contains(&token)) {
            let more = self.decode_next(token)?;
            self.held.push_str(&more);
        }
        if stop_at(&self.held, &self.asked.stops).is_some() {
            return Ok(None);
        }
        let end = self.held.len() - self.undecided_bytes();
        let text: String = self.held.drain(..end).collect();
        if text.is_empty() { Ok(None) } else { self.say(text).map(Some) }
    }

    /// What is left to say of a completion that is over.
    ///
    /// # Errors
    /// `Invalid` when tokens do not decode to text.
    pub(in crate::cli) fn finish(&mut self, whole: &Completion) -> Result<Spoken> {
        let whole = text_of(whole, self.asked, self.text)?;
        self.say(whole.strip_prefix(&self.said).unwrap_or_default().to_owned())
    }

    fn say(&mut self, text: String) -> Result<Spoken> {
        self.said.push_str(&text);
        let logprobs =
            if self.asked.wants_logprobs { logprobs(self.asked, &self.unsaid, self.text)? } else { Value::Null };
        self.unsaid = Completion::default();
        Ok(Spoken { text, logprobs })
    }

    /// The text that a token adds to those before it; none while it ends within a character.
    fn decode_next(&mut self, token: u32) -> Result<String> {
        self.tokens.push(token);
        let before = decode(&self.tokens[..self.said_tokens], self.text)?;
        let all = decode(&self.tokens, self.text)?;
        let Some(more) = all.strip_prefix(&before).filter(|more| !more.is_empty() && !more.ends_with('\u{fffd}'))
        else {
            return Ok(String::new());
        };
        self.tokens.drain(..self.said_tokens);
        self.said_tokens = self.tokens.len();
        Ok(more.to_owned())
    }

    /// Bytes at the end of what is held that may begin a stop string.
    fn undecided_bytes(&self) -> usize {
        let begins = |stop: &String, held: &str| stop.len() > held.len() && stop.starts_with(held);
        let ends = self.held.char_indices().map(|(start, _)| &self.held[start..]);
        ends.filter(|end| self.asked.stops.iter().any(|stop| begins(stop, end))).map(str::len).max().unwrap_or(0)
    }
}

impl Spoken {
    /// The choice of a chunk of a stream.
    pub(in crate::cli) fn choice(&self, endpoint: Endpoint, idx: usize, finish_reason: Option<FinishReason>) -> Value {
        let (logprobs, finish_reason) = (&self.logprobs, finish_reason.map(FinishReason::name));
        match endpoint {
            Endpoint::Completions => {
                json!({"index": idx, "text": self.text, "logprobs": logprobs, "finish_reason": finish_reason})
            }
            Endpoint::Chat => {
                let delta = if self.text.is_empty() { json!({}) } else { json!({"content": self.text}) };
                json!({"index": idx, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason})
            }
        }
    }
}
