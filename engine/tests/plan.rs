//! Promise: a plan computes each distinct prefix token once, never more than grouping at one level does, and its schedule
//! keeps to its limits and forgets nobody.
#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::collections::{HashMap, HashSet};

use kvdepot_engine::plan::{Item, Limits, MIN_LOAD_TOKENS, Plan, RequestShape, Schedule, Step, Work};
use proptest::prelude::*;

fn plan(contexts: &[Vec<u32>]) -> Plan {
    plan_with(contexts, |_| 4)
}

fn plan_with(contexts: &[Vec<u32>], max_tokens: impl Fn(usize) -> usize) -> Plan {
    let mut shapes: Vec<RequestShape<'_>> = Vec::new();
    for (idx, context) in contexts.iter().enumerate() {
        shapes.push(RequestShape { context, max_tokens: max_tokens(idx), stored_tokens: 0 });
    }
    Plan::new(&shapes)
}

/// Contexts over few tokens, so that they share much.
fn contexts(most: usize) -> impl Strategy<Value = Vec<Vec<u32>>> {
    prop::collection::vec(prop::collection::vec(0u32..3, 1..9), 1..most)
}

/// Distinct prefixes of all contexts, each by its tokens.
fn distinct_prefixes(contexts: &[Vec<u32>]) -> HashSet<&[u32]> {
    contexts.iter().flat_map(|context| (1..=context.len()).map(|end| &context[..end])).collect()
}

/// Requests whose context others continue or repeat: their last token is computed once more, for its logits.
fn last_tokens(contexts: &[Vec<u32>]) -> usize {
    let is_shared = |idx: usize| {
        let mut others = contexts.iter().enumerate().filter(|(other, _)| *other != idx);
        others.any(|(_, other)| other.starts_with(&contexts[idx]))
    };
    (0..contexts.len()).filter(|&idx| is_shared(idx)).count()
}

/// Tokens that a grouping computes which shares `open` prefixes and nothing else.
fn one_level(contexts: &[Vec<u32>], open: &[&[u32]]) -> usize {
    let rest = |context: &Vec<u32>| {
        let shared = open.iter().filter(|prefix| context.starts_with(prefix)).map(|prefix| prefix.len()).max();
        context.len() - shared.unwrap_or(0)
    };
    open.iter().map(|prefix| prefix.len()).sum::<usize>() + contexts.iter().map(rest).sum::<usize>()
}

/// The greedy grouping of BatchLLM (arXiv 2412.03594, section 4.2), at one level.
mod paper {
    use super::*;

    struct Node {
        depth: usize,
        leaves: usize,
        children: Vec<Node>,
    }

    fn tree(contexts: &[&[u32]], depth: usize) -> Node {
        let mut end = depth;
        while contexts[0].len() > end && contexts.iter().all(|context| context.get(end) == contexts[0].get(end)) {
            end += 1;
        }
        let mut by_token = HashMap::<u32, Vec<&[u32]>>::new();
        contexts
            .iter()
            .filter(|context| context.len() > end)
            .for_each(|context| by_token.entry(context[end]).or_default().push(context));
        let children =
            if contexts.len() == 1 { Vec::new() } else { by_token.values().map(|below| tree(below, end)).collect() };
        Node { depth: end, leaves: contexts.len(), children }
    }

    /// Groups below a node, each with its tokens after `start` and its requests. Bottom-up, a group is taken out of the
    /// node's own where `(requests - 1) * tokens` of it are more than the node's tokens, which it then repeats.
    fn groups(node: &Node, start: usize) -> Vec<(usize, usize)> {
        let (own, mut kept, mut taken_out) = (node.depth - start, node.leaves, Vec::new());
        for (tokens, requests) in node.children.iter().flat_map(|child| groups(child, node.depth)) {
            if (requests - 1) * tokens > own {
                taken_out.push((own + tokens, requests));
                kept -= requests;
            }
        }
        if kept > 0 {
            taken_out.push((own, kept));
        }
        taken_out
    }

    /// Tokens that it computes.
    pub(super) fn tokens(contexts: &[Vec<u32>]) -> usize {
        let mut by_token = HashMap::<u32, Vec<&[u32]>>::new();
        contexts.iter().for_each(|context| by_token.entry(context[0]).or_default().push(context));
        let total: usize = contexts.iter().map(Vec::len).sum();
        let all = by_token.values().flat_map(|group| groups(&tree(group, 0), 0));
        let saved: usize = all.map(|(tokens, requests)| tokens * (requests - 1)).sum();
        total - saved
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn each_distinct_prefix_token_is_computed_once(contexts in contexts(12)) {
        let plan = plan(&contexts);
        prop_assert_eq!(plan.planned_tokens(), distinct_prefixes(&contexts).len() + last_tokens(&contexts));
        prop_assert_eq!(plan.total_tokens(), contexts.iter().map(Vec::len).sum::<usize>());
    }

    #[test]
    fn no_grouping_at_one_level_computes_less(contexts in contexts(6)) {
        // What repeats a last token for its logits does so in any grouping.
        let planned = plan(&contexts).planned_tokens() - last_tokens(&contexts);
        let prefixes: Vec<&[u32]> = distinct_prefixes(&contexts).into_iter().collect();
        let shared: Vec<&[u32]> = prefixes
            .into_iter()
            .filter(|prefix| contexts.iter().filter(|context| context.starts_with(prefix)).count() > 1)
            .take(12)
            .collect();
        for chosen in 0u32..1 << shared.len() {
            let open: Vec<&[u32]> = (0..shared.len()).filter(|bit| chosen >> bit & 1 == 1).map(|bit| shared[bit]).collect();
            prop_assert!(planned <= one_level(&contexts, &open));
        }
        prop_assert!(planned <= paper::tokens(&contexts));
    }

    #[test]
    fn every_item_has_its_place_behind_what_it_continues(contexts in contexts(12)) {
        let plan = plan(&contexts);
        let mut requests: Vec<usize> = Vec::new();
        for (place, item) in plan.order.iter().enumerate() {
            let (parent, own_place) = match *item {
                Item::Prefix(prefix) => (plan.prefixes[prefix].parent, plan.prefixes[prefix].place),
                Item::Request(request) => {
                    requests.push(request);
                    (plan.requests[request].parent, plan.requests[request].place)
                }
            };
            prop_assert_eq!(own_place, place);
            if let Some(parent) = parent {
                prop_assert!((plan.prefixes[parent].place + 1..plan.prefixes[parent].end).contains(&place));
            }
        }
        requests.sort_unstable();
        prop_assert_eq!(requests, (0..contexts.len()).collect::<Vec<_>>());
        for prefix in &plan.prefixes {
            let tokens = &contexts[prefix.request][..prefix.num_tokens];
            prop_assert_eq!(prefix.num_requests, contexts.iter().filter(|context| context.starts_with(tokens)).count());
        }
    }

    #[test]
    fn a_schedule_keeps_its_limits_and_forgets_nobody(
        contexts in contexts(12), pages in 1usize..20, page_tokens in 1usize..5, step_tokens in 1usize..9, early: u64,
    ) {
        let max_tokens = |idx: usize| 1 + idx * 5 % 7;
        let plan = plan_with(&contexts, max_tokens);
        let limits = Limits { pages, page_tokens, step_tokens };
        let mut schedule = Schedule::new(&plan, limits);
        let mut computed = vec![0; contexts.len()];
        let mut prefixes = vec![0; plan.prefixes.len()];
        let (mut decoded, mut refused, mut steps) = (vec![0; contexts.len()], HashSet::new(), 0);
        let mut is_over = vec![false; contexts.len()];
        loop {
            let before = prefixes.clone();
            let step = schedule.step();
            prop_assert!(schedule.used_pages() <= pages);
            refused.extend(step.refused.iter().map(|refused| refused.request));
            if step.work.is_empty() { break }
            prop_assert!(step.work.iter().map(Work::prefill_tokens).sum::<usize>() <= step_tokens);
            let complete = |parent: Option<usize>| parent.is_none_or(|parent| before[parent] == plan.own_tokens(parent));
            for work in step.work {
                let request = match work {
                    Work::Prefix { prefix, num_tokens } => {
                        prop_assert!(complete(plan.prefixes[prefix].parent));
                        prefixes[prefix] += num_tokens;
                        continue;
                    }
                    Work::Context { request, num_tokens } => {
                        prop_assert!(complete(plan.requests[request].parent));
                        computed[request] += num_tokens;
                        let own = contexts[request].len() - plan.requests[request].reused_tokens;
                        prop_assert!(computed[request] <= own);
                        if computed[request] < own { continue }
                        request
                    }
                    Work::Decode { request } => request,
                };
                decoded[request] += 1;
                let ends_early = early >> (request % 64) & 1 == 1;
                if decoded[request] == max_tokens(request) || ends_early {
                    prop_assert!(!std::mem::replace(&mut is_over[request], true));
                    schedule.finish(request);
                }
            }
            steps += 1;
            prop_assert!(steps < 10_000);
        }
        prop_assert_eq!(schedule.used_pages(), 0);
        for (idx, context) in contexts.iter().enumerate() {
            prop_assert!(is_over[idx] != refused.contains(&idx));
            let alone = (context.len() + max_tokens(idx) - 1).div_ceil(page_tokens);
            prop_assert!(alone <= pages || refused.contains(&idx), "{} pages were enough", pages);
        }
    }

    #[test]
    fn a_depot_is_asked_of_few_contexts_and_knows_all_prefixes(contexts in contexts(12), stored in prop::collection::vec(0usize..300, 12)) {
        let contexts = stretched(&contexts);
        let stored: Vec<usize> = stored_of(&contexts, &stored);
        let mut asked = 0;
        let plan = Plan::informed(&shapes(&contexts), |some| {
            asked = some.len();
            some.iter().map(|context| stored[contexts.iter().position(|other| other == context).unwrap()]).collect()
        });
        prop_assert!(asked <= contexts.len());
        for (idx, prefix) in plan.prefixes.iter().enumerate() {
            let tokens = &contexts[prefix.request][..prefix.num_tokens];
            let best = contexts.iter().zip(&stored).filter(|(context, _)| context.starts_with(tokens)).map(|(_, stored)| *stored).max();
            let start = prefix.num_tokens - plan.own_tokens(idx);
            let own = best.unwrap().min(prefix.num_tokens).saturating_sub(start);
            prop_assert_eq!(plan.load_tokens(idx), if own < MIN_LOAD_TOKENS { 0 } else { own });
            prop_assert!(contexts[prefix.stored.request][..prefix.stored.num_tokens] == tokens[..prefix.stored.num_tokens]);
        }
        // Whatever of a context is stored beyond what is shared is loaded, but for its last token.
        for (idx, request) in plan.requests.iter().enumerate() {
            let stored = stored[idx].min(contexts[idx].len() - 1);
            prop_assert!(request.reused_tokens + MIN_LOAD_TOKENS > stored);
        }
        let computed_without = Plan::new(&shapes(&contexts)).planned_tokens();
        prop_assert_eq!(plan.planned_tokens() + plan.loaded_tokens(), computed_without);
    }

    #[test]
    fn what_is_stored_is_loaded_or_computed_and_nobody_is_forgotten(
        contexts in contexts(10), stored in prop::collection::vec(0usize..300, 12),
        pages in 3usize..30, step_tokens in 1usize..200, comes: u64,
    ) {
        let contexts = stretched(&contexts);
        let stored: Vec<usize> = stored_of(&contexts, &stored);
        let mut shapes = shapes(&contexts);
        shapes.iter_mut().zip(&stored).for_each(|(shape, &stored)| shape.stored_tokens = stored);
        let plan = Plan::new(&shapes);
        let limits = Limits { pages, page_tokens: 16, step_tokens };
        let mut schedule = Schedule::new(&plan, limits);
        let mut held = vec![0; plan.prefixes.len()];
        let mut left: Vec<usize> = shapes.iter().map(|shape| shape.max_tokens).collect();
        let mut computed = vec![0; contexts.len()];
        let (mut is_over, mut turns) = (vec![false; contexts.len()], 0);
        let complete = |held: &[usize], parent: Option<usize>| parent.is_none_or(|parent| held[parent] == plan.own_tokens(parent));
        loop {
            turns += 1;
            prop_assert!(turns < 20_000);
            for prefix in schedule.loading() {
                prop_assert!(complete(&held, plan.prefixes[prefix].parent));
                let whole = plan.load_tokens(prefix);
                prop_assert!(held[prefix] < whole);
                match comes >> ((turns + prefix * 7) % 60) & 7 {
                    0 | 1 => {}
                    // The load broke off.
                    2 => {
                        held[prefix] = held[prefix].midpoint(whole);
                        schedule.loaded(prefix, held[prefix]);
                    }
                    _ => {
                        held[prefix] = whole;
                        schedule.loaded(prefix, whole);
                    }
                }
            }
            let loading = schedule.loading();
            let mut step = schedule.step();
            prop_assert!(schedule.used_pages() <= pages);
            for refused in &step.refused {
                prop_assert!(!std::mem::replace(&mut is_over[refused.request], true));
            }
            if step.work.is_empty() {
                match loading.iter().find(|prefix| schedule.loading().contains(prefix)) {
                    Some(&prefix) => step = Step { work: schedule.step_instead(prefix).work, ..step },
                    None if !schedule.loading().is_empty() => continue,
                    None => break,
                }
            }
            prop_assert!(step.work.iter().map(Work::prefill_tokens).sum::<usize>() <= step_tokens);
            let before = held.clone();
            for work in step.work {
                let request = match work {
                    Work::Prefix { prefix, num_tokens } => {
                        prop_assert!(complete(&before, plan.prefixes[prefix].parent));
                        held[prefix] += num_tokens;
                        prop_assert!(held[prefix] <= plan.own_tokens(prefix));
                        continue;
                    }
                    Work::Context { request, num_tokens } => {
                        prop_assert!(complete(&before, plan.requests[request].parent));
                        computed[request] += num_tokens;
                        if computed[request] < contexts[request].len() - plan.requests[request].reused_tokens { continue }
                        request
                    }
                    Work::Decode { request } => request,
                };
                left[request] -= 1;
                if left[request] == 0 {
                    prop_assert!(!std::mem::replace(&mut is_over[request], true));
                    schedule.finish(request);
                }
            }
        }
        prop_assert_eq!(schedule.used_pages(), 0);
        prop_assert!(is_over.iter().all(|over| *over));
    }
}

/// Each token many times, so that there is something worth loading.
fn stretched(contexts: &[Vec<u32>]) -> Vec<Vec<u32>> {
    contexts.iter().map(|context| context.iter().flat_map(|&token| [token; 40]).collect()).collect()
}

/// What a depot might have: no more of a context than it has, and of a common part as much for each.
fn stored_of(contexts: &[Vec<u32>], limits: &[usize]) -> Vec<usize> {
    let common = |a: &[u32], b: &[u32]| a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let stored = |context: &Vec<u32>| {
        let others = contexts.iter().zip(limits).map(|(other, &limit)| common(context, other).min(limit));
        others.max().unwrap_or(0)
    };
    contexts.iter().map(stored).collect()
}

fn shapes(contexts: &[Vec<u32>]) -> Vec<RequestShape<'_>> {
    contexts.iter().map(|context| RequestShape { context, max_tokens: 4, stored_tokens: 0 }).collect()
}

#[test]
fn a_plan_that_begins_with_loading_is_looked_through_to_its_end() {
    let contexts = four_parts([1, 2, 2, 4]);
    let limits = Limits { pages: usize::MAX, page_tokens: 64, step_tokens: 256 };
    let computed = plan(&contexts).outlook(limits);
    let mut shapes = shapes(&contexts);
    shapes.iter_mut().for_each(|shape| shape.stored_tokens = 3_300);
    let loaded = Plan::new(&shapes).outlook(limits);
    assert!(loaded.steps > 0 && loaded.steps < computed.steps, "{} and {}", loaded.steps, computed.steps);
    assert!(loaded.peak_requests > 1, "{}", loaded.peak_requests);
}

#[test]
fn what_decodes_more_for_its_prefill_comes_first() {
    let contexts = [vec![1; 100], vec![1; 101], vec![2; 10], [vec![2; 9], vec![3]].concat()];
    let order = plan(&contexts).order;
    assert_eq!(order[0], Item::Prefix(0));
    assert_eq!(order[1..3].iter().filter(|item| matches!(item, Item::Request(2 | 3))).count(), 2, "{order:?}");
}

/// System, template, document and question of `counts` each, as ENGINE.md's four-part workload.
fn four_parts(counts: [u32; 4]) -> Vec<Vec<u32>> {
    let part = |level: u32, path: &[u32], tokens: usize| -> Vec<u32> {
        let id = path.iter().fold(level, |id, step| id * 100 + step + 1);
        (0..tokens as u32).map(|token| id.wrapping_mul(2_654_435_761).wrapping_add(token)).collect()
    };
    let mut contexts = Vec::new();
    for system in 0..counts[0] {
        for template in 0..counts[1] {
            for document in 0..counts[2] {
                for question in 0..counts[3] {
                    contexts.push(
                        [
                            part(1, &[system], 1500),
                            part(2, &[system, template], 1200),
                            part(3, &[system, template, document], 600),
                            part(4, &[system, template, document, question], 60),
                        ]
                        .concat(),
                    );
                }
            }
        }
    }
    contexts
}

#[test]
fn four_parts_save_93_percent_where_one_level_saves_80() {
    let contexts = four_parts([1, 4, 8, 16]);
    let plan = plan(&contexts);
    let saved = |tokens: usize| 1.0 - tokens as f64 / plan.total_tokens() as f64;
    assert!(saved(plan.planned_tokens()) >= 0.93, "{}", saved(plan.planned_tokens()));
    assert!(saved(paper::tokens(&contexts)) < saved(plan.planned_tokens()));
    assert_eq!(plan.prefixes.iter().map(|prefix| prefix.level).max(), Some(2));
}

#[test]
fn a_batch_too_large_for_memory_runs_in_part_after_part() {
    let contexts = four_parts([1, 2, 2, 16]);
    let plan = plan_with(&contexts, |_| 100);
    let all = plan.outlook(Limits { pages: usize::MAX, page_tokens: 64, step_tokens: 256 });
    let some = plan.outlook(Limits { pages: 60, page_tokens: 64, step_tokens: 256 });
    assert!(all.peak_pages > 60 && some.peak_pages <= 60 && some.steps > all.steps);
    assert_eq!((all.refused.len(), some.refused.len()), (0, 0));
    let none = plan.outlook(Limits { pages: 50, page_tokens: 64, step_tokens: 256 });
    assert_eq!(none.refused.len(), contexts.len(), "{none:?}");
}
