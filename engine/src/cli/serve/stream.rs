//! Answers that are given token by token, as server-sent events.

use std::convert::Infallible;
use std::sync::Arc;

use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use kvdepot_engine::FinishReason;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::api_error::ApiError;
use super::worker::{Event, Events};
use super::{Service, answer, now_secs};
use crate::cli::openai::{Asked, Endpoint, Speech, Spoken, usage};

/// Chunks that may wait for a client that reads slowly.
const MOST_CHUNKS: usize = 64;

/// Begins an answer: a request that cannot begin is refused before anything is said.
pub(super) async fn respond(
    service: Arc<Service>,
    asked: Arc<Asked>,
    mut events: Events,
) -> Result<Response, ApiError> {
    let first = events.recv().await.ok_or_else(ApiError::unavailable)?;
    if let (_, Event::End { outcome: Err(error), .. }) = first {
        return Err(error.into());
    }
    let (chunks, received) = mpsc::channel(MOST_CHUNKS);
    tokio::spawn(async move {
        let mut teller = Teller::new(&asked, service.engine.tokenizer(), chunks);
        // Who has gone hears no more; dropping the events tells the engine.
        let _ = teller.tell(first, events).await;
    });
    let stream = ReceiverStream::new(received);
    Ok(Sse::new(stream).keep_alive(KeepAlive::default()).into_response())
}

/// The client has gone.
struct Gone;

/// Tells a client what becomes of its choices.
struct Teller<'a> {
    asked: &'a Asked,
    speeches: Vec<Speech<'a>>,
    chunks: mpsc::Sender<Result<SseEvent, Infallible>>,
    id: String,
    created: u64,
    completion_tokens: usize,
    cached_tokens: usize,
}

impl<'a> Teller<'a> {
    fn new(
        asked: &'a Asked,
        text: Option<&'a kvdepot_engine::TextCodec>,
        chunks: mpsc::Sender<Result<SseEvent, Infallible>>,
    ) -> Self {
        Self {
            asked,
            speeches: asked.requests.iter().map(|_| Speech::new(asked, text)).collect(),
            chunks,
            id: answer::name(asked.endpoint),
            created: now_secs(),
            completion_tokens: 0,
            cached_tokens: 0,
        }
    }

    async fn tell(&mut self, first: (usize, Event), mut events: Events) -> Result<(), Gone> {
        if self.asked.endpoint == Endpoint::Chat {
            for choice in 0..self.speeches.len() {
                let delta = json!({"role": "assistant", "content": ""});
                self.say(json!([{"index": choice, "delta": delta, "logprobs": null, "finish_reason": null}])).await?;
            }
        }
        let (mut next, mut open) = (Some(first), self.speeches.len());
        while let Some((choice, event)) = next {
            open -= usize::from(matches!(event, Event::End { .. }));
            if let Err(error) = self.tell_event(choice, event).await? {
                return self.send(&error.body()).await;
            }
            next = if open == 0 { None } else { events.recv().await };
        }
        self.finish(open == 0).await
    }

    /// Tells of an event; gives the error that ends the stream.
    async fn tell_event(&mut self, choice: usize, event: Event) -> Result<Result<(), ApiError>, Gone> {
        let (spoken, finish_reason) = match self.hear(choice, event) {
            Ok((Some(spoken), finish_reason)) => (spoken, finish_reason),
            Ok((None, _)) => return Ok(Ok(())),
            Err(error) => return Ok(Err(error)),
        };
        self.say(json!([spoken.choice(self.asked.endpoint, choice, finish_reason)])).await.map(Ok)
    }

    fn hear(&mut self, choice: usize, event: Event) -> Result<(Option<Spoken>, Option<FinishReason>), ApiError> {
        let speech = &mut self.speeches[choice];
        match event {
            Event::Token { choice, alternatives } => Ok((speech.push(choice, alternatives)?, None)),
            Event::End { outcome, reused_tokens } => {
                let completion = outcome?;
                self.completion_tokens += completion.tokens.len();
                self.cached_tokens += reused_tokens;
                Ok((Some(speech.finish(&completion)?), Some(completion.finish_reason)))
            }
        }
    }

    async fn finish(&mut self, is_complete: bool) -> Result<(), Gone> {
        if !is_complete {
            return self.send(&ApiError::unavailable().body()).await;
        }
        if self.asked.wants_usage {
            let usage = usage(self.asked, self.completion_tokens, self.cached_tokens);
            let mut chunk = self.chunk(json!([]));
            chunk["usage"] = usage;
            self.send(&chunk).await?;
        }
        self.chunks.send(Ok(SseEvent::default().data("[DONE]"))).await.map_err(|_| Gone)
    }

    async fn say(&self, choices: Value) -> Result<(), Gone> {
        self.send(&self.chunk(choices)).await
    }

    fn chunk(&self, choices: Value) -> Value {
        let object = match self.asked.endpoint {
            Endpoint::Completions => "text_completion",
            Endpoint::Chat => "chat.completion.chunk",
        };
        json!({
            "id": self.id, "object": object, "created": self.created, "model": self.asked.model, "choices": choices,
        })
    }

    async fn send(&self, chunk: &Value) -> Result<(), Gone> {
        self.chunks.send(Ok(SseEvent::default().data(chunk.to_string()))).await.map_err(|_| Gone)
    }
}
