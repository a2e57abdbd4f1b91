//! A plan, step by step: what is begun when, within a number of pages and of tokens.

use super::{Item, Plan};

/// What a schedule keeps to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Pages of KV.
    pub pages: usize,
    /// Tokens of a page.
    pub page_tokens: usize,
    /// Tokens of prefill that one step takes; the tokens that are decoded come on top.
    pub step_tokens: usize,
}

/// What one step computes, and what may be forgotten after it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// In the order of the plan, so that neighbours share the most.
    pub work: Vec<Work>,
    /// Prefixes that nothing will continue any more: after the step, only those that did continue them need their pages.
    pub released: Vec<usize>,
    /// Requests that cannot run.
    pub refused: Vec<Refused>,
    /// Prefixes of which no request can run: nobody needs their KV any more.
    pub abandoned: Vec<usize>,
}

/// Part of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// The next so many tokens of a prefix.
    Prefix {
        /// An index of [`Plan::prefixes`].
        prefix: usize,
        /// At least 1.
        num_tokens: usize,
    },
    /// The next so many tokens of a request's own context; after the last of them it has its first token.
    Context {
        /// An index of [`Plan::requests`].
        request: usize,
        /// At least 1.
        num_tokens: usize,
    },
    /// The token that a request decoded last.
    Decode {
        /// An index of [`Plan::requests`].
        request: usize,
    },
}

impl Work {
    /// Tokens of prefill in it.
    pub fn prefill_tokens(&self) -> usize {
        match *self {
            Self::Prefix { num_tokens, .. } | Self::Context { num_tokens, .. } => num_tokens,
            Self::Decode { .. } => 0,
        }
    }
}

/// A request whose worst case does not fit, even alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// An index of [`Plan::requests`].
    pub request: usize,
    /// Pages that were missing for it, or for a prefix above it.
    pub needed_pages: usize,
    /// Pages that were taken by what it continues.
    pub used_pages: usize,
}

/// A plan on its way.
///
/// Things begin in the order of the plan, each when pages for its worst case are free, so that nothing is ever preempted.
/// A step takes what decodes first, then contexts, then prefixes (BatchLLM, section 4.3).
#[derive(Debug)]
pub struct Schedule<'a> {
    plan: &'a Plan,
    limits: Limits,
    /// Of [`Plan::order`], what is not begun.
    next: usize,
    stops: bool,
    prefixes: Vec<PrefixState>,
    /// Tokens of each request's own context that are computed.
    computed: Vec<usize>,
    /// Prefixes that are being computed, and requests whose context is, in the order of the plan.
    open_prefixes: Vec<usize>,
    open_requests: Vec<usize>,
    /// Requests that decode, in the order of the plan.
    decoding: Vec<usize>,
    /// Tokens to compute of what was begun.
    begun_tokens: usize,
    used_pages: usize,
    peak_pages: usize,
}

#[derive(Debug, Clone)]
struct PrefixState {
    /// Its own tokens that are there.
    computed: usize,
    /// Its own tokens up to this one are being loaded.
    load_end: usize,
    is_complete: bool,
    /// What continues it and has not begun to.
    waiting: usize,
    /// Requests below it that are not done.
    live: usize,
}

impl<'a> Schedule<'a> {
    /// A plan of which nothing is begun.
    pub fn new(plan: &'a Plan, limits: Limits) -> Self {
        let state = |(idx, prefix): (usize, &super::SharedPrefix)| PrefixState {
            computed: 0,
            load_end: plan.load_tokens(idx),
            is_complete: false,
            waiting: prefix.num_children,
            live: prefix.num_requests,
        };
        Self {
            plan,
            limits,
            next: 0,
            stops: false,
            prefixes: plan.prefixes.iter().enumerate().map(state).collect(),
            computed: vec![0; plan.requests.len()],
            open_prefixes: Vec::new(),
            open_requests: Vec::new(),
            decoding: Vec::new(),
            begun_tokens: 0,
            used_pages: 0,
            peak_pages: 0,
        }
    }

    /// The next step; one without work when everything is done, or [being loaded](Self::loading). What it says is computed
    /// counts as computed.
    pub fn step(&mut self) -> Step {
        let mut step = Step::default();
        self.begin(&mut step);
        step.work.extend(self.decoding.iter().map(|&request| Work::Decode { request }));
        let mut budget = self.limits.step_tokens.max(1);
        let decoding = self.take_contexts(&mut budget, &mut step);
        let complete = self.take_prefixes(&mut budget, &mut step);
        for request in decoding {
            let place = |request: usize| self.plan.requests[request].place;
            let place = self.decoding.partition_point(|&other| place(other) < place(request));
            self.decoding.insert(place, request);
        }
        complete.into_iter().for_each(|prefix| self.prefixes[prefix].is_complete = true);
        step.work.sort_by_key(|work| self.place(work));
        step
    }

    /// Prefixes that are begun and being loaded, and continue what is complete; in the order of the plan.
    pub fn loading(&self) -> Vec<usize> {
        let goes_on = |&prefix: &usize| self.is_loading(prefix) && self.is_ready(self.plan.prefixes[prefix].parent);
        self.open_prefixes.iter().copied().filter(goes_on).collect()
    }

    /// The first `num_tokens` of a prefix's own tokens are there, and nothing more of it is loaded: what is left is computed.
    /// Gives what may be forgotten, as [`Step::released`].
    pub fn loaded(&mut self, prefix: usize, num_tokens: usize) -> Option<usize> {
        let is_first = self.prefixes[prefix].computed == 0 && num_tokens > 0;
        let released = if is_first { self.fork(self.plan.prefixes[prefix].parent) } else { None };
        self.begun_tokens -= self.tokens_to_compute(prefix);
        self.prefixes[prefix].computed = num_tokens;
        self.prefixes[prefix].load_end = 0;
        self.begun_tokens += self.tokens_to_compute(prefix);
        if num_tokens == self.plan.own_tokens(prefix) {
            self.prefixes[prefix].is_complete = true;
            self.open_prefixes.retain(|&other| other != prefix);
        }
        released
    }

    /// A step that computes the next tokens of a prefix instead of waiting for them to be loaded: at most as many as a step
    /// takes.
    pub fn step_instead(&mut self, prefix: usize) -> Step {
        let PrefixState { computed, load_end, .. } = self.prefixes[prefix];
        let num_tokens = (load_end - computed).min(self.limits.step_tokens.max(1));
        let mut step = Step { work: vec![Work::Prefix { prefix, num_tokens }], ..Step::default() };
        if computed == 0 {
            step.released.extend(self.fork(self.plan.prefixes[prefix].parent));
        }
        self.prefixes[prefix].computed += num_tokens;
        if computed + num_tokens == load_end {
            self.loaded(prefix, load_end);
        }
        step
    }

    /// Begins nothing more: what has begun still ends.
    pub fn stop(&mut self) {
        self.stops = true;
    }

    /// Takes a request out that has all its tokens.
    pub fn finish(&mut self, request: usize) {
        self.decoding.retain(|&other| other != request);
        self.used_pages -= self.request_pages(request);
        self.bury(request);
    }

    /// Pages that are taken for what has begun.
    pub fn used_pages(&self) -> usize {
        self.used_pages
    }

    /// The most pages that were ever taken.
    pub fn peak_pages(&self) -> usize {
        self.peak_pages
    }

    /// What is not begun, in order.
    pub fn waiting(&self) -> &'a [Item] {
        &self.plan.order[self.next..]
    }

    /// Begins what fits, until there is enough to compute.
    fn begin(&mut self, step: &mut Step) {
        while !self.stops && self.begun_tokens < 2 * self.limits.step_tokens.max(1) {
            let Some(&item) = self.plan.order.get(self.next) else { return };
            let pages = self.pages(item);
            if self.used_pages + pages > self.limits.pages {
                if self.is_busy() {
                    return;
                }
                self.refuse(item, pages, step);
                continue;
            }
            self.next += 1;
            self.used_pages += pages;
            self.peak_pages = self.peak_pages.max(self.used_pages);
            match item {
                Item::Prefix(prefix) => {
                    self.begun_tokens += self.tokens_to_compute(prefix);
                    self.open_prefixes.push(prefix);
                }
                Item::Request(request) => {
                    self.begun_tokens += self.own_tokens(request);
                    self.open_requests.push(request);
                }
            }
        }
    }

    /// Whether something will end by itself.
    fn is_busy(&self) -> bool {
        !(self.open_requests.is_empty() && self.decoding.is_empty())
    }

    fn is_loading(&self, prefix: usize) -> bool {
        self.prefixes[prefix].load_end > self.prefixes[prefix].computed
    }

    /// Own tokens of a prefix that are not there and will not be loaded.
    fn tokens_to_compute(&self, prefix: usize) -> usize {
        let PrefixState { computed, load_end, .. } = self.prefixes[prefix];
        self.plan.own_tokens(prefix) - computed.max(load_end)
    }

    /// Passes over an item that does not fit even now, when only what it continues has pages, and all below it.
    fn refuse(&mut self, item: Item, needed_pages: usize, step: &mut Step) {
        let (parent, end) = match item {
            Item::Prefix(prefix) => (self.plan.prefixes[prefix].parent, self.plan.prefixes[prefix].end),
            Item::Request(request) => (self.plan.requests[request].parent, self.next + 1),
        };
        let used_pages = self.used_pages;
        for item in &self.plan.order[self.next..end] {
            if let Item::Request(request) = *item {
                step.refused.push(Refused { request, needed_pages, used_pages });
                step.abandoned.extend(self.bury(request));
            }
        }
        self.next = end;
        step.released.extend(self.fork(parent));
        self.abandon(step);
    }

    /// Takes own contexts of requests; gives those that have logits after the step.
    fn take_contexts(&mut self, budget: &mut usize, step: &mut Step) -> Vec<usize> {
        let mut complete = Vec::new();
        for request in std::mem::take(&mut self.open_requests) {
            let parent = self.plan.requests[request].parent;
            let left = self.own_tokens(request) - self.computed[request];
            let num_tokens = if self.is_ready(parent) { left.min(*budget) } else { 0 };
            if num_tokens > 0 {
                if self.computed[request] == 0 {
                    step.released.extend(self.fork(parent));
                }
                self.computed[request] += num_tokens;
                self.begun_tokens -= num_tokens;
                *budget -= num_tokens;
                step.work.push(Work::Context { request, num_tokens });
            }
            if num_tokens == left { complete.push(request) } else { self.open_requests.push(request) }
        }
        complete
    }

    /// Takes prefixes; gives those that are complete after the step.
    fn take_prefixes(&mut self, budget: &mut usize, step: &mut Step) -> Vec<usize> {
        let mut complete = Vec::new();
        for prefix in std::mem::take(&mut self.open_prefixes) {
            let parent = self.plan.prefixes[prefix].parent;
            let left = self.plan.own_tokens(prefix) - self.prefixes[prefix].computed;
            let can_go_on = self.is_ready(parent) && !self.is_loading(prefix);
            let num_tokens = if can_go_on { left.min(*budget) } else { 0 };
            if num_tokens > 0 {
                if self.prefixes[prefix].computed == 0 {
                    step.released.extend(self.fork(parent));
                }
                self.prefixes[prefix].computed += num_tokens;
                self.begun_tokens -= num_tokens;
                *budget -= num_tokens;
                step.work.push(Work::Prefix { prefix, num_tokens });
            }
            if num_tokens == left { complete.push(prefix) } else { self.open_prefixes.push(prefix) }
        }
        complete
    }

    fn is_ready(&self, parent: Option<usize>) -> bool {
        parent.is_none_or(|parent| self.prefixes[parent].is_complete)
    }

    /// Something continues a prefix, or never will; gives the prefix if that was the last.
    fn fork(&mut self, parent: Option<usize>) -> Option<usize> {
        let parent = parent?;
        self.prefixes[parent].waiting -= 1;
        if self.prefixes[parent].waiting > 0 {
            return None;
        }
        self.used_pages -= self.partial_page(parent);
        Some(parent)
    }

    /// A request is done, or will never be: prefixes above it without others below them go, and are given.
    fn bury(&mut self, request: usize) -> Vec<usize> {
        let mut gone = Vec::new();
        let mut above = self.plan.requests[request].parent;
        while let Some(prefix) = above {
            self.prefixes[prefix].live -= 1;
            if self.prefixes[prefix].live == 0 {
                gone.push(prefix);
                if self.plan.prefixes[prefix].place < self.next {
                    self.used_pages -= self.full_pages(prefix);
                }
            }
            above = self.plan.prefixes[prefix].parent;
        }
        gone
    }

    /// Computes no more of prefixes whose requests were all refused meanwhile.
    fn abandon(&mut self, step: &mut Step) {
        for prefix in std::mem::take(&mut self.open_prefixes) {
            let PrefixState { computed, live, .. } = self.prefixes[prefix];
            if live > 0 {
                self.open_prefixes.push(prefix);
                continue;
            }
            self.begun_tokens -= self.tokens_to_compute(prefix);
            if computed == 0 {
                step.released.extend(self.fork(self.plan.prefixes[prefix].parent));
            }
        }
    }

    fn own_tokens(&self, request: usize) -> usize {
        let request = &self.plan.requests[request];
        request.context_tokens - request.reused_tokens
    }

    fn place(&self, work: &Work) -> usize {
        match *work {
            Work::Prefix { prefix, .. } => self.plan.prefixes[prefix].place,
            Work::Context { request, .. } | Work::Decode { request } => self.plan.requests[request].place,
        }
    }

    /// Pages that a prefix adds to those above it and leaves to those below it.
    fn full_pages(&self, prefix: usize) -> usize {
        let prefix = &self.plan.prefixes[prefix];
        prefix.num_tokens / self.limits.page_tokens - self.plan.tokens_of(prefix.parent) / self.limits.page_tokens
    }

    /// One, if the last page of a prefix is not full: what continues it has a copy.
    fn partial_page(&self, prefix: usize) -> usize {
        usize::from(!self.plan.prefixes[prefix].num_tokens.is_multiple_of(self.limits.page_tokens))
    }

    fn request_pages(&self, request: usize) -> usize {
        let request = &self.plan.requests[request];
        let capacity = request.context_tokens + request.max_tokens - 1;
        capacity.div_ceil(self.limits.page_tokens) - request.reused_tokens / self.limits.page_tokens
    }

    fn pages(&self, item: Item) -> usize {
        match item {
            Item::Prefix(prefix) => self.full_pages(prefix) + self.partial_page(prefix),
            Item::Request(request) => self.request_pages(request),
        }
    }
}
