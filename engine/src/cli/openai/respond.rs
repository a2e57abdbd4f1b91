//! Bodies of answers.

use kvdepot_client::{Error, ErrorKind, Result};
use kvdepot_engine::{Choice, Completion, TextCodec};
use serde_json::{Value, json};

use super::{Asked, Endpoint};

/// A body that was answered.
pub(in crate::cli) struct Answered<'a> {
    pub(in crate::cli) asked: &'a Asked,
    /// One for each choice.
    pub(in crate::cli) completions: &'a [Completion],
    /// Tokens of contexts whose KV was there before.
    pub(in crate::cli) cached_tokens: usize,
    /// Seconds since 1970.
    pub(in crate::cli) created: u64,
    pub(in crate::cli) id: &'a str,
}

impl Answered<'_> {
    /// The body of the answer.
    ///
    /// # Errors
    /// `Invalid` when tokens do not decode to text.
    pub(in crate::cli) fn body(&self, text: Option<&TextCodec>) -> Result<Value> {
        let choices = self.completions.iter().enumerate();
        let choices =
            choices.map(|(idx, completion)| self.choice(idx, completion, text)).collect::<Result<Vec<_>>>()?;
        let object = match self.asked.endpoint {
            Endpoint::Completions => "text_completion",
            Endpoint::Chat => "chat.completion",
        };
        Ok(json!({
            "id": self.id, "object": object, "created": self.created, "model": self.asked.model,
            "choices": choices, "usage": self.usage(),
        }))
    }

    fn choice(&self, idx: usize, completion: &Completion, text: Option<&TextCodec>) -> Result<Value> {
        let content = text_of(completion, self.asked, text)?;
        let finish_reason = completion.finish_reason.name();
        let logprobs = if self.asked.wants_logprobs { logprobs(self.asked, completion, text)? } else { Value::Null };
        Ok(match self.asked.endpoint {
            Endpoint::Completions => {
                json!({"index": idx, "text": content, "logprobs": logprobs, "finish_reason": finish_reason})
            }
            Endpoint::Chat => {
                let message = json!({"role": "assistant", "content": content});
                json!({"index": idx, "message": message, "logprobs": logprobs, "finish_reason": finish_reason})
            }
        })
    }

    fn usage(&self) -> Value {
        let completion_tokens = self.completions.iter().map(|completion| completion.tokens.len()).sum();
        usage(self.asked, completion_tokens, self.cached_tokens)
    }
}

/// What was used.
pub(in crate::cli) fn usage(asked: &Asked, completion_tokens: usize, cached_tokens: usize) -> Value {
    let prompt_tokens: usize = asked.requests.iter().map(|request| request.suffix.len()).sum();
    json!({
        "prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "prompt_tokens_details": {"cached_tokens": cached_tokens},
    })
}

/// Logarithms of the probabilities of a completion's tokens.
///
/// # Errors
/// `Invalid` when tokens do not decode to text.
pub(in crate::cli) fn logprobs(asked: &Asked, completion: &Completion, text: Option<&TextCodec>) -> Result<Value> {
    let chosen = completion.tokens.iter().zip(&completion.logprobs);
    let chosen: Vec<Told> = chosen.map(|(&token, &logprob)| Told::new(token, logprob, text)).collect::<Result<_>>()?;
    let told = |top: &Vec<Choice>| top.iter().map(|top| Told::new(top.token, top.logprob, text)).collect();
    let tops: Vec<Vec<Told>> = completion.top_logprobs.iter().map(told).collect::<Result<_>>()?;
    Ok(match asked.endpoint {
        Endpoint::Completions => {
            let tokens: Vec<&str> = chosen.iter().map(|told| &told.token[..]).collect();
            let by_token =
                |top: &Vec<Told>| Value::from_iter(top.iter().map(|told| (told.token.clone(), told.logprob)));
            let tops = if tops.is_empty() { Value::Null } else { tops.iter().map(by_token).collect() };
            json!({"tokens": tokens, "token_logprobs": completion.logprobs, "top_logprobs": tops})
        }
        Endpoint::Chat => {
            let tops = tops.into_iter().chain(std::iter::repeat_with(Vec::new));
            let entry = |(told, tops): (Told, Vec<Told>)| {
                let mut entry = told.entry();
                entry["top_logprobs"] = tops.iter().map(Told::entry).collect();
                entry
            };
            json!({"content": chosen.into_iter().zip(tops).map(entry).collect::<Vec<_>>()})
        }
    })
}

/// A token and its logarithm, as text.
struct Told {
    token: String,
    logprob: f32,
}

impl Told {
    fn new(token: u32, logprob: f32, text: Option<&TextCodec>) -> Result<Self> {
        Ok(Self { token: decode(&[token], text)?, logprob })
    }

    fn entry(&self) -> Value {
        json!({"token": self.token, "logprob": self.logprob, "bytes": self.token.as_bytes()})
    }
}

/// The text of a completion, up to what ended it.
pub(in crate::cli) fn text_of(completion: &Completion, asked: &Asked, text: Option<&TextCodec>) -> Result<String> {
    let ends_with_stop = |request: &kvdepot_engine::Request| {
        completion.tokens.last().is_some_and(|last| request.stop_tokens.contains(last))
    };
    let is_stopped = asked.requests.first().is_some_and(ends_with_stop);
    let tokens = &completion.tokens[..completion.tokens.len() - usize::from(is_stopped)];
    let mut content = decode(tokens, text)?;
    if let Some(end) = stop_at(&content, &asked.stops) {
        content.truncate(end);
    }
    Ok(content)
}

/// Where the first of the stop strings begins in a text.
pub(in crate::cli) fn stop_at(content: &str, stops: &[String]) -> Option<usize> {
    stops.iter().filter_map(|stop| content.find(stop.as_str())).min()
}

/// Whether the last tokens of a completion have one of the stop strings.
pub(in crate::cli) fn has_stop(stops: &[String], completion: &Completion, text: Option<&TextCodec>) -> bool {
    let Some(longest) = stops.iter().map(String::len).max() else { return false };
    // A token may be no more than part of a character.
    let tail = completion.tokens.len().saturating_sub(longest + 8);
    let text = text.and_then(|text| text.decode(&completion.tokens[tail..]).ok());
    text.is_some_and(|text| stop_at(&text, stops).is_some())
}

/// Text of tokens; without a tokenizer, their numbers.
pub(super) fn decode(tokens: &[u32], text: Option<&TextCodec>) -> Result<String> {
    match text {
        Some(text) => text.decode(tokens).map_err(|error| Error::invalid(error.to_string())),
        None => Ok(tokens.iter().map(u32::to_string).collect::<Vec<_>>().join(" ")),
    }
}

/// The API's word for an error, and its HTTP status.
pub(in crate::cli) fn error_code(kind: ErrorKind) -> (&'static str, u16) {
    match kind {
        ErrorKind::Invalid | ErrorKind::Incompatible => ("invalid_request_error", 400),
        ErrorKind::NotFound => ("model_not_found", 404),
        ErrorKind::Denied => ("permission_denied", 403),
        ErrorKind::Busy => ("insufficient_memory", 429),
        ErrorKind::Unavailable => ("service_unavailable", 503),
        ErrorKind::Corrupt | ErrorKind::Internal => ("internal_error", 500),
    }
}
