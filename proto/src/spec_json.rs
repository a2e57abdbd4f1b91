//! [`KvSpec`] as JSON: in KV dumps, in files that people write, and in the output of the programs.
//!
//! ```json
//! {"model": "llama", "weights_digest": "64 hex digits", "tokenizer_digest": "64 hex digits", "adapter": "",
//!  "dtype": "bf16", "num_layers": 8, "num_kv_heads": 2, "head_dim": 64,
//!  "rope": {"kind": "llama3", "theta": 500000.0, "parameters": {"factor": 8.0}}, "sliding_window": 4096}
//! ```
//!
//! `tokenizer_digest`, `adapter`, `rope.parameters` and `sliding_window` may be left out. Unknown fields are refused: a
//! field that a reader ignored would make two different caches look interchangeable.

use std::collections::BTreeMap;

use kvdepot_codec::{Dtype, Geometry};
use serde::{Deserialize, Serialize};

use crate::{Error, KvSpec, Result, Rope, hex, v1};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SpecJson {
    model: String,
    weights_digest: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tokenizer_digest: Option<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    adapter: String,
    dtype: Dtype,
    num_layers: u32,
    num_kv_heads: u32,
    head_dim: u32,
    rope: RopeJson,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sliding_window: Option<u32>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RopeJson {
    kind: String,
    theta: f64,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    parameters: BTreeMap<String, f64>,
}

impl KvSpec {
    /// The JSON form, in one line.
    pub fn to_json(&self) -> String {
        serde_json::json!(self).to_string()
    }

    /// Reads the JSON form.
    ///
    /// # Errors
    /// `Invalid` for text that is not the JSON form of a spec: unknown or missing fields, or values out of range.
    pub fn from_json(text: &str) -> Result<Self> {
        serde_json::from_str(text).map_err(|error| Error::invalid(format!("spec is not valid: {error}")))
    }
}

impl From<KvSpec> for SpecJson {
    fn from(spec: KvSpec) -> Self {
        let message = v1::KvSpec::from(&spec);
        Self {
            model: spec.model,
            weights_digest: hex::encode(&spec.weights_digest),
            tokenizer_digest: spec.tokenizer_digest.map(|digest| hex::encode(&digest)),
            adapter: spec.adapter,
            dtype: spec.geometry.dtype(),
            num_layers: message.num_layers,
            num_kv_heads: message.num_kv_heads,
            head_dim: message.head_dim,
            rope: RopeJson {
                kind: spec.rope.kind,
                theta: spec.rope.theta,
                parameters: spec.rope.parameters.into_iter().collect(),
            },
            sliding_window: spec.sliding_window,
        }
    }
}

impl TryFrom<SpecJson> for KvSpec {
    type Error = Error;

    fn try_from(json: SpecJson) -> Result<Self> {
        let tokenizer_digest = json.tokenizer_digest.map(|digits| hex::decode_digest("tokenizer_digest", &digits));
        let spec = Self {
            model: json.model,
            weights_digest: hex::decode_digest("weights_digest", &json.weights_digest)?,
            tokenizer_digest: tokenizer_digest.transpose()?,
            adapter: json.adapter,
            geometry: Geometry::new(json.num_layers, json.num_kv_heads, json.head_dim, json.dtype)?,
            rope: Rope {
                kind: json.rope.kind,
                theta: json.rope.theta,
                parameters: json.rope.parameters.into_iter().collect(),
            },
            sliding_window: json.sliding_window,
        };
        Self::try_from(v1::KvSpec::from(&spec)).map_err(|error| Error::invalid(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: &str = r#"{"model":"m","weights_digest":"00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF",
        "dtype":"f16","num_layers":2,"num_kv_heads":3,"head_dim":64,"rope":{"kind":"default","theta":10000}}"#;

    #[test]
    fn every_field_survives_json() {
        let mut spec = KvSpec::from_json(LEAST).unwrap();
        assert_eq!(spec, KvSpec::from_json(&spec.to_json()).unwrap());
        spec.tokenizer_digest = Some([7; 32]);
        spec.adapter = "lora \"x\"".to_owned();
        spec.rope.parameters = vec![("factor".to_owned(), 0.1 + 0.2), ("low".to_owned(), 1e-300)];
        spec.sliding_window = Some(4096);
        let again = KvSpec::from_json(&spec.to_json()).unwrap();
        assert_eq!((again.fingerprint(), &again), (spec.fingerprint(), &spec));
    }

    #[test]
    fn what_a_reader_would_ignore_is_refused() {
        for (from, to, complaint) in [
            ("\"model\"", "\"revision\":1,\"model\"", "revision"),
            ("\"kind\"", "\"factor\":2,\"kind\"", "factor"),
            ("0011", "001", "64 hexadecimal digits"),
            ("0011", "+011", "64 hexadecimal digits"),
            ("\"f16\"", "\"int8\"", "int8"),
            ("\"num_layers\":2", "\"num_layers\":0", "num_layers 0"),
            ("\"m\"", "\"\"", "model name"),
        ] {
            let error = KvSpec::from_json(&LEAST.replacen(from, to, 1)).unwrap_err();
            assert!(error.to_string().contains(complaint), "{error}");
        }
    }
}
