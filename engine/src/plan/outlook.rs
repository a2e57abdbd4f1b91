//! What a plan comes to, found out by walking through its steps without computing anything.

use super::{Limits, Plan, Refused, Schedule, Work};

/// A plan's steps if no request ends before its last token.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outlook {
    /// Steps.
    pub steps: usize,
    /// The most pages that are taken at a time.
    pub peak_pages: usize,
    /// The most requests that decode at a time.
    pub peak_requests: usize,
    /// Requests that do not fit.
    pub refused: Vec<Refused>,
}

impl Plan {
    /// What the plan comes to within limits, if loading takes no time.
    pub fn outlook(&self, limits: Limits) -> Outlook {
        let mut schedule = Schedule::new(self, limits);
        let mut left: Vec<usize> = self.requests.iter().map(|request| request.max_tokens).collect();
        let mut computed = vec![0; self.requests.len()];
        let mut outlook = Outlook::default();
        loop {
            while let Some(&prefix) = schedule.loading().first() {
                schedule.loaded(prefix, self.load_tokens(prefix));
            }
            let step = schedule.step();
            outlook.refused.extend(step.refused);
            if step.work.is_empty() {
                match schedule.loading().is_empty() {
                    true => break,
                    false => continue,
                }
            }
            outlook.steps += 1;
            let mut decoding = 0;
            for work in step.work {
                let request = match work {
                    Work::Prefix { .. } => continue,
                    Work::Decode { request } => {
                        decoding += 1;
                        request
                    }
                    Work::Context { request, num_tokens } => {
                        computed[request] += num_tokens;
                        let shape = &self.requests[request];
                        if computed[request] < shape.context_tokens - shape.reused_tokens {
                            continue;
                        }
                        request
                    }
                };
                left[request] -= 1;
                if left[request] == 0 {
                    schedule.finish(request);
                }
            }
            outlook.peak_requests = outlook.peak_requests.max(decoding);
        }
        outlook.peak_pages = schedule.peak_pages();
        outlook
    }
}
