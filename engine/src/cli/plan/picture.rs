//! The tree of shared prefixes, drawn with lines.

use std::fmt;

use kvdepot_engine::plan::{Item, Plan};

/// A tree as text, a line for each of its prefixes that save most.
pub(super) struct Picture {
    lines: Vec<String>,
}

/// What is below a prefix, or below none.
struct Below {
    prefixes: Vec<usize>,
    requests: usize,
}

impl Picture {
    /// At most about so many lines.
    pub(super) fn new(plan: &Plan, most_lines: usize) -> Self {
        let shown = shown(plan, most_lines);
        let mut picture = Self { lines: Vec::new() };
        picture.draw(plan, &below(plan), None, "", &shown);
        picture
    }

    fn draw(&mut self, plan: &Plan, below: &[Below], prefix: Option<usize>, indent: &str, shown: &[bool]) {
        let Below { prefixes, requests } = &below[prefix.map_or(0, |prefix| prefix + 1)];
        let (drawn, left): (Vec<usize>, Vec<usize>) = prefixes.iter().partition(|&&prefix| shown[prefix]);
        let rest = rest(plan, &left, *requests, prefix.is_some());
        for (idx, &child) in drawn.iter().enumerate() {
            let is_last = idx + 1 == drawn.len() && rest.is_none();
            let (mark, below_it) = if is_last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            let (tokens, requests) = (plan.own_tokens(child), plan.prefixes[child].num_requests);
            let (saved, to_load) = (plan.saved_tokens(child), plan.load_tokens(child));
            let loaded = if to_load > 0 { format!(", {to_load} of them loaded") } else { String::new() };
            let line = format!("{indent}{mark}{tokens} tokens for {requests} requests{loaded}, saves {saved}");
            self.lines.push(line);
            self.draw(plan, below, Some(child), &format!("{indent}{below_it}"), shown);
        }
        self.lines.extend(rest.map(|rest| format!("{indent}└─ {rest}")));
    }
}

/// Words for what is not drawn by itself.
fn rest(plan: &Plan, prefixes: &[usize], requests: usize, is_below_prefix: bool) -> Option<String> {
    let further: usize = prefixes.iter().map(|&prefix| plan.prefixes[prefix].num_requests).sum();
    let alone = if is_below_prefix { "that go on alone" } else { "that share nothing" };
    let mut words = Vec::new();
    if !prefixes.is_empty() {
        words.push(format!("{} more prefixes for {further} requests", prefixes.len()));
    }
    if requests > 0 {
        words.push(format!("{requests} {alone}"));
    }
    (!words.is_empty()).then(|| words.join(", and "))
}

/// Prefixes that save most; what is above one saves as much or is shown for its sake.
fn shown(plan: &Plan, most: usize) -> Vec<bool> {
    let mut by_savings: Vec<usize> = (0..plan.prefixes.len()).collect();
    by_savings.sort_by_key(|&idx| (std::cmp::Reverse(plan.saved_tokens(idx)), idx));
    let mut shown = vec![false; plan.prefixes.len()];
    for mut idx in by_savings.into_iter().take(most) {
        while !std::mem::replace(&mut shown[idx], true) {
            let Some(parent) = plan.prefixes[idx].parent else { break };
            idx = parent;
        }
    }
    shown
}

/// What directly continues nothing, and then each prefix.
fn below(plan: &Plan) -> Vec<Below> {
    let mut below: Vec<Below> =
        (0..=plan.prefixes.len()).map(|_| Below { prefixes: Vec::new(), requests: 0 }).collect();
    for item in &plan.order {
        match *item {
            Item::Prefix(prefix) => {
                below[plan.prefixes[prefix].parent.map_or(0, |parent| parent + 1)].prefixes.push(prefix);
            }
            Item::Request(request) => {
                below[plan.requests[request].parent.map_or(0, |parent| parent + 1)].requests += 1;
            }
        }
    }
    below
}

impl fmt::Display for Picture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}
