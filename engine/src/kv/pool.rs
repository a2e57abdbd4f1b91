//! Memory for pages, accounted in bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::KvLayout;
use crate::simd::Line;
use crate::{Error, Result};

/// Memory that pages are taken from, up to a limit; a page gives its bytes back when its last holder drops it.
#[derive(Debug, Clone)]
pub struct KvPool {
    layout: KvLayout,
    account: Arc<Account>,
}

/// Bytes in use and their limit.
#[derive(Debug)]
struct Account {
    limit_bytes: usize,
    used_bytes: AtomicUsize,
}

/// Keys and values of [`PAGE_TOKENS`](crate::PAGE_TOKENS) tokens over all layers and KV heads.
#[derive(Debug)]
pub(crate) struct Page {
    lines: Vec<Line>,
    account: Arc<Account>,
}

impl KvPool {
    pub(crate) fn new(layout: KvLayout, limit_bytes: usize) -> Self {
        Self { layout, account: Arc::new(Account { limit_bytes, used_bytes: AtomicUsize::new(0) }) }
    }

    /// Most bytes that pages may take.
    pub fn limit_bytes(&self) -> usize {
        self.account.limit_bytes
    }

    /// Bytes that pages take now; a page shared by many sequences counts once.
    pub fn used_bytes(&self) -> usize {
        self.account.used_bytes.load(Ordering::Relaxed)
    }

    /// Bytes of one page.
    pub fn page_bytes(&self) -> usize {
        self.layout.page_bytes()
    }

    pub(crate) fn layout(&self) -> &KvLayout {
        &self.layout
    }

    /// Allocates pages of zeros: all of them, or none and `Busy`.
    pub(crate) fn allocate(&self, num_pages: usize) -> Result<Vec<Arc<Page>>> {
        let needed_bytes = num_pages.saturating_mul(self.page_bytes());
        self.account.take(needed_bytes)?;
        let page = || Page { lines: vec![Line::ZERO; self.layout.page_lines()], account: self.account.clone() };
        Ok(std::iter::repeat_with(|| Arc::new(page())).take(num_pages).collect())
    }
}

impl Account {
    fn take(&self, needed_bytes: usize) -> Result<()> {
        let fits = |used: usize| used.checked_add(needed_bytes).filter(|&used| used <= self.limit_bytes);
        self.used_bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits)
            .map(|_| ())
            .map_err(|used_bytes| Error::Busy { needed_bytes, used_bytes, limit_bytes: self.limit_bytes })
    }
}

impl Page {
    pub(crate) fn lines(&self) -> &[Line] {
        &self.lines
    }

    pub(crate) fn lines_mut(&mut self) -> &mut [Line] {
        &mut self.lines
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.account.used_bytes.fetch_sub(size_of_val(self.lines.as_slice()), Ordering::Relaxed);
    }
}
