//! The radix tree of the contexts of a batch.

use std::collections::HashMap;

/// A context of the batch: tokens from position 0.
pub(super) type Context<'a> = &'a [u32];

/// Index of a node.
type Idx = usize;

/// A run of tokens that all contexts through it have in common; it ends where they part, or where one ends.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) parent: Option<Idx>,
    /// Tokens from position 0 to the end of the run.
    pub(super) depth: usize,
    /// Tokens from position 0 to its beginning.
    start: usize,
    /// A context through it, whose first `depth` tokens are the path from the root.
    pub(super) context: usize,
    pub(super) children: Vec<Idx>,
    /// Contexts that end here.
    pub(super) ends: Vec<usize>,
    /// Contexts that end here or below.
    pub(super) num_contexts: usize,
}

/// All contexts; node 0 is the root, which has no tokens.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) nodes: Vec<Node>,
}

impl Tree {
    /// In time linear in the tokens.
    pub(super) fn new(contexts: &[Context<'_>]) -> Self {
        let mut builder = Builder { contexts, nodes: vec![Node::new(None, 0, 0, 0)], children: HashMap::new() };
        for idx in 0..contexts.len() {
            let end = builder.descend(idx);
            builder.nodes[end].ends.push(idx);
        }
        let mut tree = Self { nodes: builder.nodes };
        tree.link(builder.children);
        tree.count();
        tree
    }

    /// Gives nodes their children, in the order of the first context through each.
    fn link(&mut self, children: HashMap<(Idx, u32), Idx>) {
        for ((parent, _), child) in children {
            self.nodes[parent].children.push(child);
        }
        let first: Vec<usize> = self.nodes.iter().map(|node| node.context).collect();
        self.nodes.iter_mut().for_each(|node| node.children.sort_unstable_by_key(|&child| first[child]));
    }

    fn count(&mut self) {
        for idx in self.pre_order().into_iter().rev() {
            let below: usize = self.nodes[idx].children.iter().map(|&child| self.nodes[child].num_contexts).sum();
            self.nodes[idx].num_contexts = self.nodes[idx].ends.len() + below;
        }
    }

    /// Parents before children, each node's descendants right behind it.
    pub(super) fn pre_order(&self) -> Vec<Idx> {
        let (mut order, mut open) = (Vec::with_capacity(self.nodes.len()), vec![0]);
        while let Some(idx) = open.pop() {
            order.push(idx);
            open.extend(self.nodes[idx].children.iter().rev());
        }
        order
    }
}

impl Node {
    fn new(parent: Option<Idx>, start: usize, depth: usize, context: usize) -> Self {
        Self { parent, depth, start, context, children: Vec::new(), ends: Vec::new(), num_contexts: 0 }
    }

    /// Tokens of the run.
    pub(super) fn num_tokens(&self) -> usize {
        self.depth - self.start
    }
}

struct Builder<'a> {
    contexts: &'a [Context<'a>],
    nodes: Vec<Node>,
    /// By parent and first token.
    children: HashMap<(Idx, u32), Idx>,
}

impl Builder<'_> {
    /// The node at which a context ends, made where there is none.
    fn descend(&mut self, idx: usize) -> Idx {
        let context = self.contexts[idx];
        let mut at = 0;
        while let Some(first) = context.get(self.nodes[at].depth) {
            let start = self.nodes[at].depth;
            let Some(&child) = self.children.get(&(at, *first)) else {
                return self.add(Some(at), start, context.len(), idx);
            };
            let run = &self.contexts[self.nodes[child].context][start..self.nodes[child].depth];
            let common = run.iter().zip(&context[start..]).take_while(|(a, b)| a == b).count();
            at = if common == run.len() { child } else { self.split(child, start + common) };
        }
        at
    }

    fn add(&mut self, parent: Option<Idx>, start: usize, depth: usize, context: usize) -> Idx {
        let idx = self.nodes.len();
        self.nodes.push(Node::new(parent, start, depth, context));
        if let Some(parent) = parent {
            self.children.insert((parent, self.contexts[context][start]), idx);
        }
        idx
    }

    /// Cuts a node at a depth inside of its run; gives the upper part.
    fn split(&mut self, lower: Idx, depth: usize) -> Idx {
        let Node { parent, start, context, .. } = self.nodes[lower];
        let upper = self.add(parent, start, depth, context);
        self.children.insert((upper, self.contexts[context][depth]), lower);
        (self.nodes[lower].parent, self.nodes[lower].start) = (Some(upper), depth);
        upper
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(contexts: &[Context<'_>]) -> Vec<(usize, usize, usize)> {
        let tree = Tree::new(contexts);
        let nodes = tree.pre_order().into_iter().map(|idx| &tree.nodes[idx]);
        nodes.map(|node| (node.depth, node.num_tokens(), node.num_contexts)).collect()
    }

    #[test]
    fn contexts_part_where_their_tokens_do() {
        let contexts: [Context<'_>; 4] = [&[1, 2, 3, 4], &[1, 2, 5], &[1, 2], &[7]];
        assert_eq!(runs(&contexts), [(0, 0, 4), (2, 2, 3), (4, 2, 1), (3, 1, 1), (1, 1, 1)]);
    }

    #[test]
    fn equal_and_empty_contexts_end_at_one_node() {
        assert_eq!(runs(&[&[1, 2], &[1, 2]]), [(0, 0, 2), (2, 2, 2)]);
        assert_eq!(runs(&[&[], &[]]), [(0, 0, 2)]);
        assert_eq!(runs(&[]), [(0, 0, 0)]);
    }
}
