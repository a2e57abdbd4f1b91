//! `kvdepot-engine serve`: OpenAI's API over one model.
//!
//! Owns the HTTP server. One thread of its own runs the engine (`worker`); handlers hand it requests and pass on what comes.

mod answer;
mod api_error;
mod depot;
mod metrics;
mod routes;
mod stream;
mod worker;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use kvdepot_client::Error;
use serde::Serialize;
use tokio::net::TcpListener;

use super::depot_scope::DepotScopeArgs;
use super::engine::{Engine, EngineArgs};
use super::keeper::PutLevel;
use super::openai::{ChatTemplate, Defaults};
use super::report::Outcome;
use super::scope::directory_name;
use depot::Loader;
use metrics::Metrics;
use worker::Worker;

/// Answers requests over HTTP, as OpenAI's API does: /v1/completions, /v1/chat/completions, /v1/models, /health, /metrics.
///
/// Requests that arrive while others run join those that they share a prefix with. The first Ctrl-C or SIGTERM lets what has
/// been accepted end, a second one ends at once.
#[derive(Debug, clap::Args)]
pub(super) struct ServeArgs {
    #[command(flatten)]
    engine: EngineArgs,
    /// Where to listen; anything but loopback needs --api-key
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8000")]
    listen: SocketAddr,
    /// What clients must show as a bearer token
    #[arg(long, value_name = "KEY", env = "KVDEPOT_ENGINE_API_KEY", hide_env_values = true)]
    api_key: Option<String>,
    /// Name that requests call the model by; may be repeated [default: the name of its directory]
    #[arg(long = "served-model-name", value_name = "NAME")]
    served_names: Vec<String>,
    /// Most tokens to decode of a request that does not say
    #[arg(long, value_name = "N", default_value_t = 256)]
    max_tokens: usize,
    /// Most requests that wait for others to end; further ones are told to come again
    #[arg(long, value_name = "N", default_value_t = 1024)]
    max_waiting: usize,
    #[command(flatten)]
    depot: DepotScopeArgs,
    /// Level at which contexts that were computed are put into the depot, or none; nothing with --lossy
    #[arg(long, value_name = "LEVEL", default_value = "q0")]
    put: PutLevel,
}

/// What handlers share.
struct Service {
    engine: Arc<Engine>,
    template: Option<ChatTemplate>,
    served_names: Vec<String>,
    max_tokens: usize,
    api_key: Option<blake3::Hash>,
    /// Seconds since 1970.
    started: u64,
    worker: Worker,
    loader: Option<Loader>,
    metrics: Metrics,
}

/// The report of `serve`.
#[derive(Debug, Serialize)]
pub(super) struct Served {
    requests: u64,
}

impl ServeArgs {
    pub(super) fn run(&self) -> anyhow::Result<Served> {
        if !self.listen.ip().is_loopback() && self.api_key.is_none() {
            let why = format!("{} is not loopback: pass --api-key, or listen on 127.0.0.1", self.listen);
            return Err(Error::invalid(why).into());
        }
        let engine = Arc::new(self.engine.load()?);
        let depot = self.depot.connect(&engine)?;
        let (mut loader, mut keeper) = (None, None);
        if let Some((depot, scope)) = &depot {
            // What may be built on lossy KV must not pass for what the model computes.
            keeper = if scope.lossy { None } else { self.put.keeper(&engine, depot, scope)? };
            loader = Some(Loader::new(depot.client(), scope.clone()));
        }
        let metrics = Metrics::new(engine.runner.pool().limit_bytes());
        let (worker, thread) = Worker::start(Arc::clone(&engine), metrics.clone(), self.max_waiting, keeper);
        let service = Service {
            template: ChatTemplate::open(engine.dir())?,
            served_names: self.served_names(&engine)?,
            max_tokens: self.max_tokens,
            api_key: self.api_key.as_ref().map(|key| blake3::hash(key.as_bytes())),
            started: now_secs(),
            engine,
            worker,
            loader,
            metrics: metrics.clone(),
        };
        let runtime = tokio::runtime::Runtime::new().context("cannot start the network runtime")?;
        runtime.block_on(serve(self.listen, service))?;
        // What is still open was asked to end and did not.
        runtime.shutdown_timeout(Duration::from_secs(1));
        // The engine's thread ends when nobody can ask it any more; what it computed is in the depot then.
        let _ = thread.join();
        Ok(Served { requests: metrics.requests() })
    }

    fn served_names(&self, engine: &Engine) -> anyhow::Result<Vec<String>> {
        Ok(if self.served_names.is_empty() { vec![directory_name(engine.dir())?] } else { self.served_names.clone() })
    }
}

async fn serve(listen: SocketAddr, service: Service) -> anyhow::Result<()> {
    let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    let name = service.served_names.first().cloned().unwrap_or_default();
    eprintln!("serving {name} on http://{}", listener.local_addr()?);
    let stop = stop_signal()?;
    axum::serve(listener, routes::router(Arc::new(service))).with_graceful_shutdown(stop).await?;
    Ok(())
}

/// The first SIGINT or SIGTERM; the second ends the program.
fn stop_signal() -> anyhow::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut signals = [SignalKind::interrupt(), SignalKind::terminate()].map(signal);
    if let Some(Err(error)) = signals.iter_mut().find(|signal| signal.is_err()) {
        return Err(anyhow::anyhow!("cannot watch for signals: {error}"));
    }
    let [Ok(mut interrupt), Ok(mut terminate)] = signals else { unreachable!("errors are returned above") };
    Ok(async move {
        tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
        eprintln!("stopping: what was accepted is answered; again to end at once");
        tokio::spawn(async move {
            tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
            std::process::exit(130);
        });
    })
}

impl Service {
    fn defaults(&self) -> Defaults<'_> {
        Defaults {
            text: self.engine.tokenizer(),
            template: self.template.as_ref(),
            model_names: &self.served_names,
            max_tokens: self.max_tokens,
            stop_tokens: &self.engine.runner.model().config().eos_tokens,
        }
    }
}

/// Seconds since 1970.
fn now_secs() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

impl Outcome for Served {}

impl fmt::Display for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} requests answered", self.requests)
    }
}
