//! The order in which a tree is walked.

use super::RequestShape;
use super::tree::Tree;

/// A step of the walk.
pub(super) enum Visit {
    /// A node, before what is below it.
    Enter(usize),
    /// A request that ends at a node, or whose context goes on alone from there.
    Request(usize, usize),
    /// A node, after what is below it.
    Leave(usize),
}

/// Work below a node.
#[derive(Clone, Copy, Default)]
struct Work {
    prefill_tokens: usize,
    decode_tokens: usize,
}

/// Depth first; of a node's children those first that decode more for each token of prefill.
pub(super) fn visits(tree: &Tree, requests: &[RequestShape<'_>]) -> Vec<Visit> {
    let work = work_below(tree, requests);
    let mut visits = Vec::new();
    let mut open = vec![Visit::Enter(0)];
    while let Some(visit) = open.pop() {
        if let Visit::Enter(idx) = visit {
            let node = &tree.nodes[idx];
            open.push(Visit::Leave(idx));
            let mut children = node.children.clone();
            // Stable, and popped from the end.
            children.sort_by(|&a, &b| work[b].decodes_more_than(&work[a]));
            open.extend(children.into_iter().rev().map(Visit::Enter));
            open.extend(node.ends.iter().rev().map(|&request| Visit::Request(idx, request)));
        }
        visits.push(visit);
    }
    visits
}

impl Work {
    /// Compares decode to prefill ratios, without dividing.
    fn decodes_more_than(&self, other: &Self) -> std::cmp::Ordering {
        let product = |a: usize, b: usize| a as u128 * b as u128;
        product(self.decode_tokens, other.prefill_tokens).cmp(&product(other.decode_tokens, self.prefill_tokens))
    }
}

fn work_below(tree: &Tree, requests: &[RequestShape<'_>]) -> Vec<Work> {
    let mut work = vec![Work::default(); tree.nodes.len()];
    for idx in tree.pre_order().into_iter().rev() {
        let node = &tree.nodes[idx];
        work[idx].prefill_tokens += node.num_tokens();
        work[idx].decode_tokens += node.ends.iter().map(|&request| requests[request].max_tokens).sum::<usize>();
        if let Some(parent) = node.parent {
            work[parent].prefill_tokens += work[idx].prefill_tokens;
            work[parent].decode_tokens += work[idx].decode_tokens;
        }
    }
    work
}
