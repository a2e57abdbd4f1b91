//! What is decoded, what it takes, and what it cannot do without.

use indicatif::HumanBytes;
use kvdepot_client::{Error, ErrorKind};
use kvdepot_engine::{ModelConfig, PAGE_TOKENS, Precision};

/// Requests over one prefix; every count is at least 1.
#[derive(Debug, Clone, Copy)]
pub(super) struct Workload {
    pub(super) prefix: usize,
    pub(super) requests: usize,
    pub(super) suffix: usize,
    pub(super) tokens: usize,
}

impl Workload {
    /// Refuses what the model or the memory of this machine cannot take.
    pub(super) fn check(&self, config: &ModelConfig) -> anyhow::Result<()> {
        let context = [self.suffix, self.tokens].into_iter().fold(self.prefix, usize::saturating_add);
        let limit = config.max_context.num_tokens;
        if context > limit {
            let refused = format!("{context} tokens in a request are more than the model's context of {limit}");
            return Err(Error::invalid(refused).into());
        }
        check_memory("the KV", self.pool_bytes(config, Precision::F32)? / 2)
    }

    /// Bytes of the pages of the prefix and of all requests, each with a page of its own where the prefix ends.
    pub(super) fn pool_bytes(&self, config: &ModelConfig, precision: Precision) -> anyhow::Result<usize> {
        let own = self.suffix.saturating_add(self.tokens).div_ceil(PAGE_TOKENS).saturating_add(1);
        let pages = own.saturating_mul(self.requests).saturating_add(self.prefix.div_ceil(PAGE_TOKENS));
        Ok(pages.saturating_mul(config.geometry(precision)?.kv_bytes(PAGE_TOKENS)))
    }

    /// Tokens that a decoded token sees, on average over the steps.
    pub(super) fn mean_context(&self) -> f64 {
        self.prefix as f64 + self.mean_own()
    }

    /// Of those, the tokens that only its request has: the decoded tokens grow from 1 to one less than all.
    fn mean_own(&self) -> f64 {
        self.suffix as f64 + self.tokens as f64 / 2.0
    }

    /// Tokens whose keys and values a step must read: the prefix once, or once per request.
    pub(super) fn tokens_to_read(&self, is_shared: bool) -> f64 {
        let readers = if is_shared { 1.0 } else { self.requests as f64 };
        readers * self.prefix as f64 + self.requests as f64 * self.mean_own()
    }

    /// Multiplications and additions of a step's attention: each query head with each key and each value.
    pub(super) fn attention_flops(&self, config: &ModelConfig) -> f64 {
        4.0 * (config.q_width() * config.num_layers * self.requests) as f64 * self.mean_context()
    }
}

/// Refuses what the machine has no memory for; where the system does not say, nothing is refused.
pub(super) fn check_memory(what: &str, needed_bytes: usize) -> anyhow::Result<()> {
    match available_bytes() {
        Some(available_bytes) if needed_bytes > available_bytes => {
            let [needed, available] = [needed_bytes, available_bytes].map(|bytes| HumanBytes(bytes as u64));
            let refused = format!("{what} would take {needed}, and {available} of memory are available");
            Err(Error::new(ErrorKind::Busy, refused).into())
        }
        _ => Ok(()),
    }
}

fn available_bytes() -> Option<usize> {
    let meminfo = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<usize>().ok()?.checked_mul(1 << 10)
}
