//! The chain of chunk ids from position 0.

use crate::{ChunkId, NamespaceKey};

/// One chunk of a token sequence, by identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkRef {
    /// Name of the chunk.
    pub id: ChunkId,
    /// The chunk before it; the namespace's root for the first one.
    pub parent: ChunkId,
    /// Position of its first token.
    pub start_token: usize,
    /// Tokens in it.
    pub num_tokens: usize,
}

/// Cuts `tokens` into chunks of `chunk_tokens` and names each by its namespace, its parent and its tokens.
///
/// The last chunk is shorter when the tokens do not divide; nothing is yielded for no tokens.
///
/// # Panics
/// When `chunk_tokens` is zero.
pub fn chain(key: &NamespaceKey, tokens: &[u32], chunk_tokens: usize) -> impl Iterator<Item = ChunkRef> {
    let mut parent = key.root();
    let mut start_token = 0usize;
    tokens.chunks(chunk_tokens).map(move |run| {
        let chunk = ChunkRef { id: key.child(&parent, run), parent, start_token, num_tokens: run.len() };
        parent = chunk.id;
        start_token = start_token.saturating_add(run.len());
        chunk
    })
}

impl NamespaceKey {
    /// Parent of every first chunk of this namespace.
    pub fn root(&self) -> ChunkId {
        ChunkId::new(*blake3::keyed_hash(&self.0, b"root").as_bytes())
    }

    /// Names the chunk that holds `tokens` and follows `parent`: a hash, keyed by the namespace, of the parent's id and
    /// the token ids as u32 LE.
    pub fn child(&self, parent: &ChunkId, tokens: &[u32]) -> ChunkId {
        let token_bytes: Vec<u8> = tokens.iter().flat_map(|token| token.to_le_bytes()).collect();
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(parent.as_bytes()).update(&token_bytes);
        ChunkId::new(*hasher.finalize().as_bytes())
    }
}
