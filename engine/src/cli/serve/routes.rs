//! Paths, and what is done for all of them.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use super::api_error::ApiError;
use super::{Service, answer, metrics, stream};
use crate::cli::openai::{Asked, Endpoint};

/// Most bytes of a body.
const MOST_BODY_BYTES: usize = 32 << 20;

pub(super) fn router(service: Arc<Service>) -> Router {
    let api = Router::new()
        .route("/v1/completions", post(completions))
        .route("/v1/chat/completions", post(chat))
        .route("/v1/models", get(models))
        .route("/v1/models/{*name}", get(model))
        .route_layer(middleware::from_fn_with_state(Arc::clone(&service), authorize))
        .layer(DefaultBodyLimit::max(MOST_BODY_BYTES));
    Router::new()
        .route("/health", get(async || Json(json!({"status": "ok"}))))
        .route("/metrics", get(metrics_text))
        .merge(api)
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .with_state(service)
}

async fn completions(State(service): State<Arc<Service>>, body: Bytes) -> Response {
    ask(&service, Endpoint::Completions, &body).await
}

async fn chat(State(service): State<Arc<Service>>, body: Bytes) -> Response {
    ask(&service, Endpoint::Chat, &body).await
}

async fn ask(service: &Arc<Service>, endpoint: Endpoint, body: &Bytes) -> Response {
    let response = match try_ask(service, endpoint, body.clone()).await {
        Ok(response) => response,
        Err(error) => error.into_response(),
    };
    service.metrics.answer(endpoint.path(), response.status().as_u16());
    response
}

async fn try_ask(service: &Arc<Service>, endpoint: Endpoint, body: Bytes) -> Result<Response, ApiError> {
    let reader = Arc::clone(service);
    // Templates and tokenizers take their time.
    let read = tokio::task::spawn_blocking(move || -> Result<Asked, ApiError> {
        let body: Value = serde_json::from_slice(&body)
            .map_err(|error| kvdepot_client::Error::invalid(format!("the body is not JSON: {error}")))?;
        Ok(Asked::new(endpoint, body, &reader.defaults())?)
    });
    let asked = Arc::new(read.await.map_err(|_| ApiError::unavailable())??);
    let stored_tokens = service.load(&asked).await;
    let events = service.worker.run(Arc::clone(&asked), stored_tokens);
    if asked.wants_stream {
        stream::respond(Arc::clone(service), asked, events).await
    } else {
        answer::respond(service, &asked, events).await
    }
}

async fn models(State(service): State<Arc<Service>>) -> Json<Value> {
    let models: Vec<Value> = service.served_names.iter().map(|name| service.describe(name)).collect();
    Json(json!({"object": "list", "data": models}))
}

async fn model(State(service): State<Arc<Service>>, Path(name): Path<String>) -> Result<Json<Value>, ApiError> {
    match service.served_names.contains(&name) {
        true => Ok(Json(service.describe(&name))),
        false => Err(ApiError::new(StatusCode::NOT_FOUND, "model_not_found", format!("no model {name:?} here"))),
    }
}

impl Service {
    /// Brings what a depot has; gives of each request how many leading tokens that are.
    async fn load(&self, asked: &Asked) -> Vec<usize> {
        let mut stored_tokens = Vec::with_capacity(asked.requests.len());
        for alike in asked.requests.chunk_by(|a, b| a.suffix == b.suffix) {
            let stored = match &self.loader {
                Some(loader) => loader.load(&self.worker, &alike[0].suffix).await,
                None => 0,
            };
            stored_tokens.extend(alike.iter().map(|_| stored));
        }
        stored_tokens
    }

    fn describe(&self, name: &str) -> Value {
        let max_model_len = self.engine.runner.model().config().max_context.num_tokens;
        json!({
            "id": name, "object": "model", "created": self.started, "owned_by": "kvdepot",
            "max_model_len": max_model_len,
        })
    }
}

async fn metrics_text(State(service): State<Arc<Service>>) -> Result<Response, ApiError> {
    let text = service.metrics.text().map_err(|_| ApiError::unavailable())?;
    Ok(([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response())
}

/// Lets in who shows the key, if there is one.
async fn authorize(State(service): State<Arc<Service>>, request: Request, next: Next) -> Result<Response, ApiError> {
    if let Some(key) = &service.api_key {
        let shown = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let shown = shown.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
        // Hashes are compared in constant time.
        if blake3::hash(shown.as_bytes()) != *key {
            let message = "the API key is missing or wrong: send it as a bearer token";
            return Err(ApiError::new(StatusCode::UNAUTHORIZED, "invalid_api_key", message));
        }
    }
    Ok(next.run(request).await)
}

async fn unknown(request: Request) -> ApiError {
    let message = format!("{} is not served here", request.uri().path());
    ApiError::new(StatusCode::NOT_FOUND, "not_found", message)
}

async fn wrong_method(method: Method) -> ApiError {
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", format!("{method} is not taken here"))
}
