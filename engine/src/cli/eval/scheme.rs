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

    /// Encodes the chunks of a context, in order from position 0, and decodes what that came to.
    fn code(&self, context: &[KvChunk]) -> anyhow::Result<Coded>;
}

/// Where a scheme comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    /// A level of the codec.
    Level,
    /// Somebody else's, to compare with.
    Baseline,
}

/// A context, there and back.
pub(super) struct Coded {
    /// All bytes that a receiver needs.
    pub(super) bytes: u64,
    /// What it makes of them, in order from position 0.
    pub(super) chunks: Vec<KvChunk>,
}

impl Coded {
    /// Codes chunk by chunk: `code` takes a chunk and the position of its first token, and gives bytes and chunk.
    pub(super) fn each(
        context: &[KvChunk],
        code: impl Fn(&KvChunk, u64) -> anyhow::Result<(u64, KvChunk)>,
    ) -> anyhow::Result<Self> {
        let mut coded = Self { bytes: 0, chunks: Vec::with_capacity(context.len()) };
        let mut first_position = 0;
        for chunk in context {
            let (bytes, decoded) = code(chunk, first_position)?;
            coded.bytes += bytes;
            coded.chunks.push(decoded);
            first_position += chunk.num_tokens() as u64;
        }
        Ok(coded)
    }
}
