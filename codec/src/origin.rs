//! Where a context's KV comes from.

use std::collections::BTreeMap;

/// What KV files say besides shapes: positions, RoPE, and free strings that pass through unread.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Origin {
    /// Base of RoPE's frequencies, as the model's configuration has it.
    pub rope_theta: f64,
    /// Position of the first token.
    pub first_position: u64,
    /// Free strings, such as `tokens` or `kv_spec`.
    pub metadata: BTreeMap<String, String>,
}
