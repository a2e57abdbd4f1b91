//! Answers that are given whole.

use std::sync::Arc;

use axum::Json;
use axum::response::{IntoResponse, Response};
use kvdepot_engine::Completion;

use super::api_error::ApiError;
use super::worker::{Event, Events};
use super::{Service, now_secs};
use crate::cli::openai::{Answered, Asked, Endpoint};

/// Waits for all choices of a body.
pub(super) async fn respond(
    service: &Arc<Service>,
    asked: &Arc<Asked>,
    mut events: Events,
) -> Result<Response, ApiError> {
    let mut completions: Vec<Option<Completion>> = asked.requests.iter().map(|_| None).collect();
    let mut cached_tokens = 0;
    while completions.iter().any(Option::is_none) {
        let (choice, event) = events.recv().await.ok_or_else(ApiError::unavailable)?;
        if let Event::End { outcome, reused_tokens } = event {
            completions[choice] = Some(outcome?);
            cached_tokens += reused_tokens;
        }
    }
    let completions: Vec<Completion> = completions.into_iter().flatten().collect();
    let id = name(asked.endpoint);
    let answered = Answered { asked, completions: &completions, cached_tokens, created: now_secs(), id: &id };
    Ok(Json(answered.body(service.engine.tokenizer())?).into_response())
}

/// A name for an answer, unlike all others.
pub(super) fn name(endpoint: Endpoint) -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let (started, next) = (now_secs(), NEXT.fetch_add(1, Ordering::Relaxed));
    let kind = match endpoint {
        Endpoint::Completions => "cmpl",
        Endpoint::Chat => "chatcmpl",
    };
    format!("{kind}-{started:x}{next:08x}")
}
