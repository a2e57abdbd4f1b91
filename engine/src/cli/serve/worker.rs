//! The engine's thread: takes requests as they come, and tells each what becomes of it.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Instant;

use kvdepot_client::{Error, ErrorKind};
use kvdepot_codec::KvChunk;
use kvdepot_engine::{BatchObserver, Choice, Completion, Computed, Ended, Online, Progress, Request};
use tokio::sync::{mpsc, oneshot};

use super::metrics::Metrics;
use crate::cli::engine::Engine;
use crate::cli::keeper::Keeper;
use crate::cli::openai::{Asked, has_stop};
use crate::cli::report::of_engine;

/// The way to the engine's thread, which ends when all of these are gone.
#[derive(Clone)]
pub(super) struct Worker {
    orders: Sender<Order>,
}

/// What becomes of a choice.
pub(super) enum Event {
    /// It has one more token.
    Token { choice: Choice, alternatives: Option<Vec<Choice>> },
    /// It is over.
    End { outcome: Result<Completion, Error>, reused_tokens: usize },
}

/// Events of a body, each with its choice.
pub(super) type Events = mpsc::UnboundedReceiver<(usize, Event)>;

enum Order {
    Run { asked: Arc<Asked>, stored_tokens: Vec<usize>, events: mpsc::UnboundedSender<(usize, Event)> },
    Cached { context: Vec<u32>, reply: oneshot::Sender<usize> },
    Keep { tokens: Vec<u32>, chunks: Vec<KvChunk>, reply: oneshot::Sender<Result<(), Error>> },
}

impl Worker {
    /// `keeper`, if there is one, gets the contexts that are computed.
    pub(super) fn start(
        engine: Arc<Engine>,
        metrics: Metrics,
        max_waiting: usize,
        keeper: Option<Keeper>,
    ) -> (Self, JoinHandle<()>) {
        let (orders, received) = channel();
        let thread = std::thread::spawn(move || {
            let online = Online::new(&engine.runner);
            let mut desk = Desk { engine: &engine, clients: HashMap::new(), next_id: 0, metrics, keeper };
            run(online, &mut desk, &received, max_waiting);
            if let Some(failure) = desk.keeper.map(Keeper::finish).and_then(|kept| kept.failure) {
                tracing::warn!(failure, "not all that was computed is in the depot");
            }
        });
        (Self { orders }, thread)
    }

    /// Runs all choices of a body, of each of whose contexts a depot has so many leading tokens. What nobody listens to any more
    /// is dropped.
    pub(super) fn run(&self, asked: Arc<Asked>, stored_tokens: Vec<usize>) -> Events {
        let (events, received) = mpsc::unbounded_channel();
        // Without a thread nothing comes, which the receiver sees.
        let _ = self.orders.send(Order::Run { asked, stored_tokens, events });
        received
    }

    /// Leading tokens of a context whose KV is there.
    pub(super) async fn cached_tokens(&self, context: Vec<u32>) -> usize {
        let (reply, answer) = oneshot::channel();
        let _ = self.orders.send(Order::Cached { context, reply });
        answer.await.unwrap_or(0)
    }

    /// Keeps KV that came from elsewhere for the requests to come.
    ///
    /// # Errors
    /// Those of the engine.
    pub(super) async fn keep(&self, tokens: Vec<u32>, chunks: Vec<KvChunk>) -> Result<(), Error> {
        let (reply, answer) = oneshot::channel();
        let _ = self.orders.send(Order::Keep { tokens, chunks, reply });
        answer.await.unwrap_or(Ok(()))
    }
}

fn run(mut online: Online<'_>, desk: &mut Desk<'_>, orders: &Receiver<Order>, max_waiting: usize) {
    loop {
        if online.is_idle() {
            let Ok(order) = orders.recv() else { return };
            desk.take(order, &mut online, max_waiting);
        }
        orders.try_iter().for_each(|order| desk.take(order, &mut online, max_waiting));
        desk.drop_deserted(&mut online);
        online.step(desk);
        desk.metrics.waiting(online.num_waiting());
    }
}

/// Who waits for what.
struct Desk<'a> {
    engine: &'a Engine,
    clients: HashMap<usize, Client>,
    next_id: usize,
    metrics: Metrics,
    keeper: Option<Keeper>,
}

/// Who waits for a choice.
struct Client {
    asked: Arc<Asked>,
    /// Leading tokens of its context that a depot has.
    stored_tokens: usize,
    choice: usize,
    events: mpsc::UnboundedSender<(usize, Event)>,
    /// When it was submitted, or had its last token.
    last: Instant,
}

impl Desk<'_> {
    fn take(&mut self, order: Order, online: &mut Online<'_>, max_waiting: usize) {
        match order {
            Order::Run { asked, stored_tokens, events } => {
                for (choice, stored_tokens) in stored_tokens.into_iter().enumerate() {
                    let (asked, events, last) = (Arc::clone(&asked), events.clone(), Instant::now());
                    let client = Client { asked, stored_tokens, choice, events, last };
                    self.submit(client, online, max_waiting);
                }
            }
            Order::Cached { context, reply } => _ = reply.send(online.cached_tokens(&context)),
            Order::Keep { tokens, chunks, reply } => _ = reply.send(self.keep(online, &tokens, &chunks)),
        }
    }

    fn submit(&mut self, client: Client, online: &mut Online<'_>, max_waiting: usize) {
        let (id, request): (usize, Request) = (self.next_id, client.asked.requests[client.choice].clone());
        self.next_id += 1;
        let refused = if online.num_waiting() >= max_waiting {
            let message = format!("{max_waiting} requests wait already: try again later");
            Err(Error::new(ErrorKind::Busy, message))
        } else {
            online.submit(id, request).map_err(|error| of_engine(&error))
        };
        match refused {
            Ok(()) => _ = self.clients.insert(id, client),
            Err(error) => client.tell(Event::End { outcome: Err(error), reused_tokens: 0 }),
        }
    }

    fn keep(&self, online: &mut Online<'_>, tokens: &[u32], chunks: &[KvChunk]) -> Result<(), Error> {
        online.make_room_for(tokens.len());
        let prefix = self.engine.runner.import(tokens, chunks).map_err(|error| of_engine(&error))?;
        online.keep(prefix);
        Ok(())
    }

    /// Drops requests whose clients have gone.
    fn drop_deserted(&mut self, online: &mut Online<'_>) {
        self.clients.retain(|&id, client| {
            let stays = !client.events.is_closed();
            if !stays {
                online.cancel(id);
            }
            stays
        });
    }
}

impl BatchObserver for Desk<'_> {
    fn token(&mut self, request: usize, completion: &Completion) -> ControlFlow<()> {
        let Some(client) = self.clients.get_mut(&request) else { return ControlFlow::Break(()) };
        let waited = std::mem::replace(&mut client.last, Instant::now()).elapsed();
        self.metrics.token(completion.tokens.len() == 1, waited);
        if let (true, Some(&token), Some(&logprob)) =
            (client.asked.wants_stream, completion.tokens.last(), completion.logprobs.last())
        {
            let alternatives = completion.top_logprobs.last().cloned();
            client.tell(Event::Token { choice: Choice { token, logprob }, alternatives });
        }
        let is_stopped = has_stop(&client.asked.stops, completion, self.engine.tokenizer());
        if is_stopped { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn prefilled(&mut self, request: usize, computed: Computed<'_>) {
        if let (Some(keeper), Some(client)) = (&mut self.keeper, self.clients.get(&request)) {
            keeper.offer(&computed, client.stored_tokens);
        }
    }

    fn end(&mut self, ended: Ended) {
        if let Some(client) = self.clients.remove(&ended.request) {
            let context_tokens = client.asked.requests[client.choice].suffix.len();
            self.metrics.end(context_tokens, ended.reused_tokens);
            let outcome = ended.outcome.map_err(|error| of_engine(&error));
            client.tell(Event::End { outcome, reused_tokens: ended.reused_tokens });
        }
    }

    fn step(&mut self, progress: Progress) -> ControlFlow<()> {
        self.metrics.step(self.clients.len(), progress.kv_bytes);
        ControlFlow::Continue(())
    }
}

impl Client {
    fn tell(&self, event: Event) {
        // Clients that have gone are dropped before the next step.
        let _ = self.events.send((self.choice, event));
    }
}
