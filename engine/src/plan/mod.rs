//! What a batch of requests shares, and in which order it runs.
//!
//! Owns the plan: every run of tokens that several contexts begin with is computed once, however deep the tree of them
//! is, and kept until the last request below it is done. What a depot has of it is loaded instead. Pure: no model, no
//! memory, no clock. [`Schedule`] turns a plan into steps, and with a count of pages tells beforehand how much memory they
//! take.
//!
//! BatchLLM (arXiv 2412.03594, section 4) groups requests at one level, by a greedy rule. The whole tree never computes
//! more than the best grouping at one level does, since it computes each distinct prefix token once.

mod order;
mod outlook;
mod schedule;
mod stored;
mod tree;

pub use outlook::Outlook;
pub use schedule::{Limits, Refused, Schedule, Step, Work};

use order::{Visit, visits};
use tree::Tree;

/// Fewer tokens than these are computed sooner than a depot is asked for them.
pub const MIN_LOAD_TOKENS: usize = 32;

/// What planning needs to know of a request.
#[derive(Debug, Clone, Copy)]
pub struct RequestShape<'a> {
    /// Tokens from position 0; at least 1.
    pub context: &'a [u32],
    /// Most tokens to decode; at least 1.
    pub max_tokens: usize,
    /// Leading tokens of the context whose KV a depot has, as far as that is known.
    pub stored_tokens: usize,
}

/// Which prefixes are computed once for several requests, and the order of everything.
#[derive(Debug)]
pub struct Plan {
    /// Parents before children.
    pub prefixes: Vec<SharedPrefix>,
    /// One per request, in the order given.
    pub requests: Vec<PlannedRequest>,
    /// What is begun, in this order: a prefix, then all below it.
    pub order: Vec<Item>,
}

/// A prefix that several requests have in common, or that one of them need not compute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedPrefix {
    /// The longest shared prefix of it, an index of [`Plan::prefixes`].
    pub parent: Option<usize>,
    /// Tokens from position 0.
    pub num_tokens: usize,
    /// A request whose context begins with it.
    pub request: usize,
    /// Requests below it.
    pub num_requests: usize,
    /// Requests and prefixes that directly continue it.
    pub num_children: usize,
    /// Prefixes above it.
    pub level: usize,
    /// Its place in [`Plan::order`].
    pub place: usize,
    /// The place behind the last item below it.
    pub end: usize,
    /// What of it need not be computed.
    pub stored: Stored,
}

/// Leading tokens whose KV a depot has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stored {
    /// Tokens from position 0, of a prefix no more than it has.
    pub num_tokens: usize,
    /// A request whose context the depot has that far, and further perhaps.
    pub request: usize,
}

/// A request, and what it continues.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedRequest {
    /// The longest shared prefix of it, an index of [`Plan::prefixes`].
    pub parent: Option<usize>,
    /// Tokens whose KV it takes from there: all but the context's last at most, whose logits are wanted.
    pub reused_tokens: usize,
    /// Tokens of the context.
    pub context_tokens: usize,
    /// Most tokens to decode.
    pub max_tokens: usize,
    /// Its place in [`Plan::order`].
    pub place: usize,
}

/// Something to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item {
    /// An index of [`Plan::prefixes`].
    Prefix(usize),
    /// An index of [`Plan::requests`].
    Request(usize),
}

impl Plan {
    /// Plans a batch.
    ///
    /// Where there is a choice, what decodes more for each token of prefill comes first: long prefills come late, and
    /// mix with decoding (BatchLLM, section 4.3).
    ///
    /// # Examples
    /// ```
    /// use kvdepot_engine::plan::{Plan, RequestShape};
    ///
    /// let contexts = [[1, 2, 3, 4], [1, 2, 3, 5], [1, 2, 6, 7]];
    /// let shape = |context| RequestShape { context, max_tokens: 8, stored_tokens: 0 };
    /// let plan = Plan::new(&contexts.each_ref().map(|context| shape(context)));
    /// assert_eq!(plan.prefixes.iter().map(|prefix| prefix.num_tokens).collect::<Vec<_>>(), [2, 3]);
    /// assert_eq!((plan.total_tokens(), plan.planned_tokens()), (12, 7));
    /// ```
    pub fn new(requests: &[RequestShape<'_>]) -> Self {
        let contexts: Vec<&[u32]> = requests.iter().map(|request| request.context).collect();
        let tree = Tree::new(&contexts);
        let unplanned = PlannedRequest { parent: None, reused_tokens: 0, context_tokens: 0, max_tokens: 0, place: 0 };
        let mut plan = Self { prefixes: Vec::new(), requests: vec![unplanned; requests.len()], order: Vec::new() };
        let mut prefix_of = vec![None; tree.nodes.len()];
        for visit in visits(&tree, requests) {
            match visit {
                Visit::Enter(idx) => prefix_of[idx] = plan.enter(&tree, idx, &prefix_of),
                Visit::Request(idx, request) => plan.add_request(prefix_of[idx], request, &requests[request]),
                Visit::Leave(idx) => plan.leave(&tree, idx, prefix_of[idx]),
            }
        }
        plan
    }

    /// The longest shared prefix that ends at a node or above it.
    fn enter(&mut self, tree: &Tree, idx: usize, prefix_of: &[Option<usize>]) -> Option<usize> {
        let node = &tree.nodes[idx];
        let parent = node.parent.and_then(|parent| prefix_of[parent]);
        if node.num_contexts < 2 || node.depth == 0 {
            return parent;
        }
        Some(self.add_prefix(parent, node.depth, (node.context, node.num_contexts)))
    }

    fn add_prefix(
        &mut self,
        parent: Option<usize>,
        num_tokens: usize,
        (request, num_requests): (usize, usize),
    ) -> usize {
        let level = parent.map_or(0, |parent| self.prefixes[parent].level + 1);
        let place = self.order.len();
        let stored = Stored::default();
        let (num_children, end) = (0, place + 1);
        self.prefixes.push(SharedPrefix {
            parent,
            num_tokens,
            request,
            num_requests,
            num_children,
            level,
            place,
            end,
            stored,
        });
        self.count_child(parent);
        let prefix = self.prefixes.len() - 1;
        self.order.push(Item::Prefix(prefix));
        prefix
    }

    /// What a request continues: where the depot has more of its context than others share, a prefix of its own.
    fn continued(&mut self, parent: Option<usize>, request: usize, shape: &RequestShape<'_>) -> Option<usize> {
        let num_tokens = shape.stored_tokens.min(shape.context.len().saturating_sub(1));
        if num_tokens < self.tokens_of(parent) + MIN_LOAD_TOKENS {
            return parent;
        }
        let prefix = self.add_prefix(parent, num_tokens, (request, 1));
        self.prefixes[prefix].end += 1;
        Some(prefix)
    }

    fn add_request(&mut self, parent: Option<usize>, request: usize, shape: &RequestShape<'_>) {
        let context_tokens = shape.context.len();
        let parent = self.continued(parent, request, shape);
        self.note_stored(parent, Stored { num_tokens: shape.stored_tokens, request });
        self.requests[request] = PlannedRequest {
            parent,
            reused_tokens: self.tokens_of(parent).min(context_tokens.saturating_sub(1)),
            context_tokens,
            max_tokens: shape.max_tokens,
            place: self.order.len(),
        };
        self.count_child(parent);
        self.order.push(Item::Request(request));
    }

    fn leave(&mut self, tree: &Tree, idx: usize, prefix: Option<usize>) {
        if let Some(prefix) = prefix.filter(|&prefix| self.prefixes[prefix].num_tokens == tree.nodes[idx].depth) {
            self.prefixes[prefix].end = self.order.len();
        }
    }

    /// What a depot has of a request's context it has of all prefixes above the request.
    fn note_stored(&mut self, mut above: Option<usize>, stored: Stored) {
        while let Some(prefix) = above {
            let prefix = &mut self.prefixes[prefix];
            let num_tokens = stored.num_tokens.min(prefix.num_tokens);
            if num_tokens > prefix.stored.num_tokens {
                prefix.stored = Stored { num_tokens, ..stored };
            }
            above = prefix.parent;
        }
    }

    fn count_child(&mut self, parent: Option<usize>) {
        if let Some(parent) = parent {
            self.prefixes[parent].num_children += 1;
        }
    }

    /// Tokens of all contexts.
    pub fn total_tokens(&self) -> usize {
        self.requests.iter().map(|request| request.context_tokens).sum()
    }

    /// Tokens that are computed before anything is decoded, if what is stored is loaded.
    pub fn planned_tokens(&self) -> usize {
        let prefixes: usize = (0..self.prefixes.len()).map(|idx| self.own_tokens(idx) - self.load_tokens(idx)).sum();
        let requests = self.requests.iter().map(|request| request.context_tokens - request.reused_tokens);
        prefixes + requests.sum::<usize>()
    }

    /// Tokens of a prefix that those above it do not have.
    pub fn own_tokens(&self, prefix: usize) -> usize {
        let SharedPrefix { parent, num_tokens, .. } = self.prefixes[prefix];
        num_tokens - self.tokens_of(parent)
    }

    /// Of [`Self::own_tokens`], the first so many are to be loaded: 0 where it is not worth the trouble.
    pub fn load_tokens(&self, prefix: usize) -> usize {
        let SharedPrefix { parent, stored, .. } = self.prefixes[prefix];
        let tokens = stored.num_tokens.saturating_sub(self.tokens_of(parent));
        if tokens < MIN_LOAD_TOKENS { 0 } else { tokens }
    }

    /// Tokens that need not be computed because a prefix is shared and stored.
    pub fn saved_tokens(&self, prefix: usize) -> usize {
        self.own_tokens(prefix) * (self.prefixes[prefix].num_requests - 1) + self.load_tokens(prefix)
    }

    /// Tokens that are to be loaded.
    pub fn loaded_tokens(&self) -> usize {
        (0..self.prefixes.len()).map(|idx| self.load_tokens(idx)).sum()
    }

    fn tokens_of(&self, prefix: Option<usize>) -> usize {
        prefix.map_or(0, |prefix| self.prefixes[prefix].num_tokens)
    }
}
