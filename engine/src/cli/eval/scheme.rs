//! Ways to code chunks, held against each other: levels of the codec, and whatever else has this trait.

use kvdepot_codec::KvChunk;

/// A way to make chunks smaller.
pub(super) trait Scheme: Sync {
    /// Name of its row, which no other has.
    fn name(&self) -> String;

    /// What it shares with the schemes that lie on one line with it in the plot.
    fn family(&self) -> String;

    /// Whether it is of this codec, or one to compare with.
    fn kind(&self) -> Kind;

    /// Whether it promises the very bits that were put.
    fn is_lossless(&self) -> bool;

    /// Encodes a chunk whose first token is at `first_position`, and decodes what that came to.
    fn code(&self, chunk: &KvChunk, first_position: u64) -> anyhow::Result<Coded>;
}

/// Where a scheme comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    /// A level of the codec.
    Level,
    /// Somebody else's, to compare with.
    #[allow(dead_code, reason = "no baseline is built in yet")]
    Baseline,
}

/// A chunk, there and back.
pub(super) struct Coded {
    /// All bytes that a receiver needs.
    pub(super) bytes: u64,
    /// What it makes of them.
    pub(super) chunk: KvChunk,
}
