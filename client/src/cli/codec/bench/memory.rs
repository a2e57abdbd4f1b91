//! Memory that an operation takes at its peak.

use crate::ALLOCATOR;

/// Runs `operation`, and gives its result and how far the bytes allocated rose above those before it.
///
/// The allocator remembers the largest number ever allocated; room that is held but never touched raises the present
/// number to it.
pub(super) fn peak_of<T>(operation: impl FnOnce() -> T) -> (T, usize) {
    let room = Vec::<u8>::with_capacity(ALLOCATOR.max_allocated().saturating_sub(ALLOCATOR.allocated()));
    let before = ALLOCATOR.allocated();
    let result = operation();
    let peak = ALLOCATOR.max_allocated().saturating_sub(before);
    drop(room);
    (result, peak)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_freed_within_counts() {
        drop(Vec::<u8>::with_capacity(50 << 20));
        let (_, peak) = peak_of(|| drop(Vec::<u8>::with_capacity(10 << 20)));
        // Other tests allocate at the same time.
        assert!((10 << 20..30 << 20).contains(&peak), "{peak}");
    }
}
