//! Plans that know what a depot has.

use super::{MIN_LOAD_TOKENS, Plan, RequestShape};

impl Plan {
    /// As [`Self::new`], after asking how many leading tokens of contexts are stored: of as few of them as tell it of all
    /// that is worth loading.
    pub fn informed(requests: &[RequestShape<'_>], ask: impl FnOnce(&[&[u32]]) -> Vec<usize>) -> Self {
        let plan = Self::new(requests);
        let asked = plan.worth_asking();
        let contexts: Vec<&[u32]> = asked.iter().map(|&request| requests[request].context).collect();
        let answers = if contexts.is_empty() { Vec::new() } else { ask(&contexts) };
        if answers.iter().all(|&stored| stored < MIN_LOAD_TOKENS) {
            return plan;
        }
        let mut requests = requests.to_vec();
        asked.into_iter().zip(answers).for_each(|(request, stored)| requests[request].stored_tokens = stored);
        Self::new(&requests)
    }

    /// Requests with much of their own, and one of each innermost shared prefix.
    fn worth_asking(&self) -> Vec<usize> {
        let mut is_innermost = vec![true; self.prefixes.len()];
        self.prefixes.iter().filter_map(|prefix| prefix.parent).for_each(|parent| is_innermost[parent] = false);
        let innermost = self.prefixes.iter().zip(is_innermost).filter(|(_, is_innermost)| *is_innermost);
        let of_prefixes = innermost.filter(|(prefix, _)| prefix.num_tokens >= MIN_LOAD_TOKENS);
        let mut asked: Vec<usize> = of_prefixes.map(|(prefix, _)| prefix.request).collect();
        let own = self.requests.iter().map(|request| request.context_tokens - request.reused_tokens);
        asked.extend(own.enumerate().filter(|(_, own)| *own > MIN_LOAD_TOKENS).map(|(request, _)| request));
        asked.sort_unstable();
        asked.dedup();
        asked
    }
}
