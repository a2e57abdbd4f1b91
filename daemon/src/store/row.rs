//! Rows as bytes: protobuf messages behind a checksum that covers their key. Parsed as hostile.

use kvdepot_proto::{ChunkContent, ChunkId, Error, ErrorKind, Fingerprint, KvSpec, Result, check_tokens, v1};
use prost::Message;

use crate::clock::UnixMs;

const CHECKSUM_BYTES: usize = 8;

/// Metadata of a chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ChunkRow {
    /// The chunk before it; the namespace's root for the first one.
    pub(crate) parent: ChunkId,
    /// Position of its first token.
    pub(crate) start_token: u32,
    /// Its tokens.
    pub(crate) tokens: Vec<u32>,
    /// Spec of its KV.
    pub(crate) fingerprint: Fingerprint,
    /// Name of the namespace it was put into.
    pub(crate) namespace: String,
    /// Level and segments.
    pub(crate) content: ChunkContent,
    /// Number of the put that wrote its segments.
    pub(crate) instance: u64,
    /// When it was put.
    pub(crate) created: UnixMs,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ChunkMessage {
    #[prost(bytes = "vec", tag = "1")]
    parent: Vec<u8>,
    #[prost(uint32, tag = "2")]
    start_token: u32,
    #[prost(uint32, repeated, tag = "3")]
    tokens: Vec<u32>,
    #[prost(bytes = "vec", tag = "4")]
    fingerprint: Vec<u8>,
    #[prost(string, tag = "5")]
    namespace: String,
    #[prost(message, optional, tag = "6")]
    content: Option<v1::ChunkContent>,
    #[prost(uint64, tag = "7")]
    instance: u64,
    #[prost(uint64, tag = "8")]
    created: UnixMs,
}

impl ChunkRow {
    /// Tokens in the chunk.
    pub(crate) fn num_tokens(&self) -> u32 {
        u32::try_from(self.tokens.len()).unwrap_or(u32::MAX)
    }

    /// The row's value under the key `id`.
    pub(crate) fn seal(&self, id: &ChunkId) -> Vec<u8> {
        let message = ChunkMessage {
            parent: self.parent.into(),
            start_token: self.start_token,
            tokens: self.tokens.clone(),
            fingerprint: self.fingerprint.into(),
            namespace: self.namespace.clone(),
            content: Some((&self.content).into()),
            instance: self.instance,
            created: self.created,
        };
        seal(id.as_bytes(), &message.encode_to_vec())
    }

    /// Reads the value under the key `id`.
    ///
    /// # Errors
    /// `Corrupt` unless it is what [`seal`](Self::seal) made for this key.
    pub(crate) fn unseal(id: &ChunkId, value: &[u8]) -> Result<Self> {
        let parse = || {
            let message = ChunkMessage::decode(unseal(id.as_bytes(), value)?).map_err(malformed)?;
            check_tokens(&message.tokens)?;
            Ok(Self {
                parent: ChunkId::from_slice(&message.parent)?,
                start_token: message.start_token,
                tokens: message.tokens,
                fingerprint: Fingerprint::from_slice(&message.fingerprint)?,
                namespace: message.namespace,
                content: message.content.ok_or_else(|| Error::invalid("no content"))?.try_into()?,
                instance: message.instance,
                created: message.created,
            })
        };
        parse().map_err(|error: Error| corrupt(format!("metadata of chunk {id}: {error}")))
    }
}

/// The value of a spec under its fingerprint.
pub(crate) fn seal_spec(spec: &KvSpec) -> Vec<u8> {
    seal(spec.fingerprint().as_bytes(), &v1::KvSpec::from(spec).encode_to_vec())
}

/// Reads the spec under `fingerprint`.
///
/// # Errors
/// `Corrupt` unless it is a spec with that fingerprint.
pub(crate) fn unseal_spec(fingerprint: &[u8], value: &[u8]) -> Result<KvSpec> {
    let parse = || {
        let message = v1::KvSpec::decode(unseal(fingerprint, value)?).map_err(malformed)?;
        let spec = KvSpec::try_from(message)?;
        if spec.fingerprint().as_bytes() != fingerprint {
            return Err(corrupt(format!("spec of fingerprint {}", spec.fingerprint())));
        }
        Ok(spec)
    };
    parse().map_err(|error: Error| corrupt(format!("stored spec: {error}")))
}

#[derive(Clone, PartialEq, prost::Message)]
struct StagingMessage {
    #[prost(bytes = "vec", repeated, tag = "1")]
    chunk_ids: Vec<Vec<u8>>,
}

/// The value of a put in progress: the chunks whose segments it may have written.
pub(crate) fn seal_staging(instance: u64, ids: &[ChunkId]) -> Vec<u8> {
    let message = StagingMessage { chunk_ids: ids.iter().map(|id| (*id).into()).collect() };
    seal(&instance.to_be_bytes(), &message.encode_to_vec())
}

/// Reads which chunks a put in progress may have written.
///
/// # Errors
/// `Corrupt` unless it is what [`seal_staging`] made for this instance.
pub(crate) fn unseal_staging(instance: &[u8], value: &[u8]) -> Result<Vec<ChunkId>> {
    let parse = || {
        let message = StagingMessage::decode(unseal(instance, value)?).map_err(malformed)?;
        message.chunk_ids.iter().map(|id| ChunkId::from_slice(id)).collect::<Result<_>>()
    };
    parse().map_err(|error: Error| corrupt(format!("staging of put {instance:02x?}: {error}")))
}

fn seal(key: &[u8], body: &[u8]) -> Vec<u8> {
    [&checksum(key, body), body].concat()
}

fn unseal<'a>(key: &[u8], value: &'a [u8]) -> Result<&'a [u8]> {
    match value.split_first_chunk::<CHECKSUM_BYTES>() {
        Some((found, body)) if *found == checksum(key, body) => Ok(body),
        _ => Err(corrupt(format!("checksum of {} bytes does not hold", value.len()))),
    }
}

fn checksum(key: &[u8], body: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(key).update(body);
    let mut checksum = [0; CHECKSUM_BYTES];
    hasher.finalize_xof().fill(&mut checksum);
    checksum
}

fn malformed(error: prost::DecodeError) -> Error {
    corrupt(error.to_string())
}

fn corrupt(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Corrupt, message)
}
