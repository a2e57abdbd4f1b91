//! What makes two KV caches interchangeable.

use kvdepot_codec::{Dtype, Geometry};

use serde::{Deserialize, Serialize};

use crate::{Error, Fingerprint, Result, Rope, hex, limits, spec_json::SpecJson, v1};

/// Everything that makes two KV caches interchangeable. Its serde form is JSON with hexadecimal digests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "SpecJson", into = "SpecJson")]
pub struct KvSpec {
    /// Name of the model, for people; part of the identity all the same.
    pub model: String,
    /// blake3 of the weights.
    pub weights_digest: [u8; 32],
    /// blake3 of the tokenizer, where text was tokenized with one.
    pub tokenizer_digest: Option<[u8; 32]>,
    /// Name or digest of the LoRA adapter, empty for none.
    pub adapter: String,
    /// Shape and element type of the KV.
    pub geometry: Geometry,
    /// Position embedding of the keys.
    pub rope: Rope,
    /// Tokens each position attends to, `None` for all.
    pub sliding_window: Option<u32>,
}

impl KvSpec {
    /// Digest of the canonical form.
    pub fn fingerprint(&self) -> Fingerprint {
        let mut hasher = blake3::Hasher::new_derive_key("kvdepot.v1 KvSpec");
        for (name, value) in self.fields() {
            for part in [name.as_bytes(), value.as_bytes()] {
                hasher.update(&(part.len() as u64).to_le_bytes());
                hasher.update(part);
            }
        }
        Fingerprint::new(*hasher.finalize().as_bytes())
    }

    /// Every field with its value in text: the canonical form, and what people are shown.
    ///
    /// Floats are written so that equal text means equal bits.
    pub fn fields(&self) -> Vec<(String, String)> {
        let geometry = &self.geometry;
        let mut fields = vec![
            ("model".to_owned(), self.model.clone()),
            ("weights_digest".to_owned(), hex::encode(&self.weights_digest)),
            (
                "tokenizer_digest".to_owned(),
                self.tokenizer_digest.as_ref().map_or_else(String::new, |d| hex::encode(d)),
            ),
            ("adapter".to_owned(), self.adapter.clone()),
            ("dtype".to_owned(), geometry.dtype().to_string()),
            ("num_layers".to_owned(), geometry.num_layers().to_string()),
            ("num_kv_heads".to_owned(), geometry.num_kv_heads().to_string()),
            ("head_dim".to_owned(), geometry.head_dim().to_string()),
            ("rope.kind".to_owned(), self.rope.kind.clone()),
            ("rope.theta".to_owned(), self.rope.theta.to_string()),
            ("sliding_window".to_owned(), self.sliding_window.map_or_else(String::new, |w| w.to_string())),
        ];
        fields.extend(self.rope.parameters.iter().map(|(name, value)| (format!("rope.{name}"), value.to_string())));
        fields
    }

    /// First field in which `other` differs, in words, or `None` when both are equal.
    pub fn difference(&self, other: &Self) -> Option<String> {
        let (ours, theirs) = (self.fields(), other.fields());
        if let Some(((name, a), (_, b))) = ours.iter().zip(&theirs).find(|(a, b)| a != b) {
            return Some(format!("{name} is {a:?} here and {b:?} there"));
        }
        let longer = if ours.len() > theirs.len() { &ours } else { &theirs };
        longer.get(ours.len().min(theirs.len())).map(|(name, value)| format!("only one side has {name} = {value:?}"))
    }
}

impl TryFrom<v1::KvSpec> for KvSpec {
    type Error = Error;

    fn try_from(message: v1::KvSpec) -> Result<Self> {
        check_name("model", &message.model)?;
        check_name("adapter", &message.adapter)?;
        if message.model.is_empty() {
            return Err(Error::invalid("spec without a model name"));
        }
        let dtype = match message.dtype() {
            v1::Dtype::Bf16 => Dtype::Bf16,
            v1::Dtype::F16 => Dtype::F16,
            v1::Dtype::F32 => Dtype::F32,
            v1::Dtype::Unspecified => return Err(Error::invalid(format!("spec with unknown dtype {}", message.dtype))),
        };
        let tokenizer_digest = match message.tokenizer_digest.as_slice() {
            [] => None,
            bytes => Some(digest("tokenizer_digest", bytes)?),
        };
        Ok(Self {
            model: message.model,
            weights_digest: digest("weights_digest", &message.weights_digest)?,
            tokenizer_digest,
            adapter: message.adapter,
            geometry: Geometry::new(message.num_layers, message.num_kv_heads, message.head_dim, dtype)?,
            rope: message.rope.ok_or_else(|| Error::invalid("spec without rope"))?.try_into()?,
            sliding_window: (message.sliding_window != 0).then_some(message.sliding_window),
        })
    }
}

impl From<&KvSpec> for v1::KvSpec {
    fn from(spec: &KvSpec) -> Self {
        let geometry = &spec.geometry;
        let dtype = match geometry.dtype() {
            Dtype::Bf16 => v1::Dtype::Bf16,
            Dtype::F16 => v1::Dtype::F16,
            Dtype::F32 => v1::Dtype::F32,
        };
        Self {
            model: spec.model.clone(),
            weights_digest: spec.weights_digest.to_vec(),
            tokenizer_digest: spec.tokenizer_digest.map(Vec::from).unwrap_or_default(),
            adapter: spec.adapter.clone(),
            dtype: dtype as i32,
            num_layers: small(geometry.num_layers()),
            num_kv_heads: small(geometry.num_kv_heads()),
            head_dim: small(geometry.head_dim()),
            rope: Some((&spec.rope).into()),
            sliding_window: spec.sliding_window.unwrap_or(0),
        }
    }
}

/// A geometry's dimensions are at most 1024.
#[expect(clippy::cast_possible_truncation, reason = "Geometry bounds its fields")]
fn small(dimension: usize) -> u32 {
    dimension as u32
}

pub(crate) fn check_name(what: &str, name: &str) -> Result<()> {
    if name.len() > limits::MAX_NAME_BYTES {
        return Err(Error::invalid(format!("{what} of {} bytes, at most {}", name.len(), limits::MAX_NAME_BYTES)));
    }
    Ok(())
}

fn digest(what: &str, bytes: &[u8]) -> Result<[u8; 32]> {
    bytes.try_into().map_err(|_| Error::invalid(format!("{what} of {} bytes, expected 32", bytes.len())))
}
