//! What a batch of requests shares, and in which order it runs.
//!
//! Owns the plan: every run of tokens that several contexts begin with is computed once, however deep the tree of them
//! is, and kept until the last request below it is done. Pure: no model, no memory, no clock. [`Schedule`] turns a plan
//! into steps, and with a count of pages tells beforehand how much memory they take.
//!
//! BatchLLM (arXiv 2412.03594, section 4) groups requests at one level, by a greedy rule. The whole tree never computes
//! more than the best grouping at one level does, since it computes each distinct prefix token once.

mod order;
mod outlook;
mod schedule;
mod tree;

pub use outlook::Outlook;
pub use schedule::{Limits, Refused, Schedule, Step, Work};

use order::{Visit, visits};
use tree::Tree;

/// What planning needs to know of a request.
#[derive(Debug, Clone, Copy)]
pub struct RequestShape<'a> {
    /// Tokens from position 0; at least 1.
    pub context: &'a [u32],
    /// Most tokens to decode; at least 1.
    pub max_tokens: usize,
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

/// A prefix that several requests have in common.
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
    /// let plan = Plan::new(&contexts.each_ref().map(|context| RequestShape { context, max_tokens: 8 }));
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
        let level = parent.map_or(0, |parent| self.prefixes[parent].level + 1);
        let prefix = self.prefixes.len();
        self.prefixes.push(SharedPrefix {
            parent,
            num_tokens: node.depth,
            request: node.context,
            num_requests: node.num_contexts,
            num_children: 0,
            level,
            place: self.order.len(),
            end: 0,
        });
        self.count_child(parent);
        self.order.push(Item::Prefix(prefix));
        Some(prefix)
    }

    fn add_request(&mut self, parent: Option<usize>, request: usize, shape: &RequestShape<'_>) {
        let context_tokens = shape.context.len();
        let shared = parent.map_or(0, |parent| self.prefixes[parent].num_tokens);
        self.requests[request] = PlannedRequest {
            parent,
            reused_tokens: shared.min(context_tokens.saturating_sub(1)),
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

    fn count_child(&mut self, parent: Option<usize>) {
        if let Some(parent) = parent {
            self.prefixes[parent].num_children += 1;
        }
    }

    /// Tokens of all contexts.
    pub fn total_tokens(&self) -> usize {
        self.requests.iter().map(|request| request.context_tokens).sum()
    }

    /// Tokens that are computed before anything is decoded.
    pub fn planned_tokens(&self) -> usize {
        let prefixes: usize = (0..self.prefixes.len()).map(|idx| self.own_tokens(idx)).sum();
        let requests = self.requests.iter().map(|request| request.context_tokens - request.reused_tokens);
        prefixes + requests.sum::<usize>()
    }

    /// Tokens of a prefix that those above it do not have.
    pub fn own_tokens(&self, prefix: usize) -> usize {
        let SharedPrefix { parent, num_tokens, .. } = self.prefixes[prefix];
        num_tokens - parent.map_or(0, |parent| self.prefixes[parent].num_tokens)
    }
}
