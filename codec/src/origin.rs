//! Where a context's KV comes from.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::{Error, Result, Rope, RopeScaling};

/// What KV files say besides shapes: positions, RoPE, and free strings that pass through unread.
///
/// # Examples
/// ```
/// use kvdepot_codec::{Origin, Rope};
///
/// let origin = Origin::new(&Rope::plain(50_000.0), 0);
/// assert_eq!((origin.rope_theta, origin.rope()?), (50_000.0, Rope::plain(50_000.0)));
/// # Ok::<(), kvdepot_codec::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Origin {
    /// Base of RoPE's frequencies, as the model's configuration has it.
    pub rope_theta: f64,
    /// Position of the first token.
    pub first_position: u64,
    /// Free strings, such as `tokens`, `kv_spec` or [`Self::ROPE_SCALING`].
    pub metadata: BTreeMap<String, String>,
}

impl Origin {
    /// Metadata that holds the scaling of RoPE's frequencies, as the JSON of [`RopeScaling`]; left out where there is none.
    pub const ROPE_SCALING: &'static str = "rope_scaling";

    /// KV from `first_position` on whose keys have this RoPE.
    pub fn new(rope: &Rope, first_position: u64) -> Self {
        let mut origin = Self { rope_theta: rope.theta, first_position, metadata: BTreeMap::new() };
        if rope.scaling != RopeScaling::None {
            let json = serde_json::to_string(&rope.scaling).expect("numbers under names are JSON");
            origin.metadata.insert(Self::ROPE_SCALING.to_owned(), json);
        }
        origin
    }

    /// RoPE of the keys. Levels that leave keys as they are need not ask, and take KV of any RoPE.
    ///
    /// # Errors
    /// `Incompatible` for a kind of scaling that this build does not know, `Invalid` when the scaling is not one, or as
    /// [`Rope::check`] has it.
    pub fn rope(&self) -> Result<Rope> {
        let scaling = match self.metadata.get(Self::ROPE_SCALING) {
            Some(json) => parse_scaling(json)?,
            None => RopeScaling::None,
        };
        let rope = Rope { theta: self.rope_theta, scaling };
        rope.check()?;
        Ok(rope)
    }
}

fn parse_scaling(json: &str) -> Result<RopeScaling> {
    #[derive(Deserialize)]
    struct Kind {
        kind: String,
    }
    const KNOWN: [&str; 2] = ["none", "llama3"];
    let name = Origin::ROPE_SCALING;
    let invalid = |error: serde_json::Error| Error::Invalid(format!("{name} {json:?} is no scaling of RoPE: {error}"));
    let Kind { kind } = serde_json::from_str(json).map_err(invalid)?;
    if !KNOWN.contains(&kind.as_str()) {
        let known = KNOWN.join(", ");
        return Err(Error::Incompatible(format!("{name} kind {kind:?} is not known to this build: it has {known}")));
    }
    serde_json::from_str(json).map_err(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    const LLAMA3: RopeScaling =
        RopeScaling::Llama3 { factor: 8.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_context: 8192.0 };

    fn with_scaling(json: &str) -> Origin {
        let metadata = [(Origin::ROPE_SCALING.to_owned(), json.to_owned())].into();
        Origin { rope_theta: 5e5, first_position: 0, metadata }
    }

    #[test]
    fn rope_comes_back_whole() {
        for rope in [Rope::plain(10_000.0), Rope { theta: 5e5, scaling: LLAMA3 }] {
            assert_eq!(Origin::new(&rope, 7).rope(), Ok(rope));
        }
        assert_eq!(Origin::new(&Rope::plain(1e4), 0).metadata, BTreeMap::new(), "no scaling, no string");
    }

    #[test]
    fn the_json_of_a_scaling_is_pinned() {
        let json =
            r#"{"kind":"llama3","factor":8.0,"low_freq_factor":1.0,"high_freq_factor":4.0,"original_context":8192.0}"#;
        let rope = Rope { theta: 5e5, scaling: LLAMA3 };
        assert_eq!(Origin::new(&rope, 0).metadata[Origin::ROPE_SCALING], json);
        assert_eq!(with_scaling(json).rope(), Ok(rope));
        assert_eq!(with_scaling(r#"{"kind":"none"}"#).rope(), Ok(Rope::plain(5e5)));
    }

    #[test]
    fn a_scaling_that_is_unknown_or_none_is_refused_by_name() {
        let refusal = |json| with_scaling(json).rope().unwrap_err();
        let unknown = refusal(r#"{"kind":"yarn","factor":4}"#);
        assert_eq!(unknown.kind(), ErrorKind::Incompatible);
        assert!(unknown.to_string().contains("\"yarn\""), "{unknown}");
        for (json, word) in [
            ("llama3", "llama3"),
            ("{}", "kind"),
            (r#"{"kind":"llama3","factor":8}"#, "low_freq_factor"),
            (r#"{"kind":"llama3","factor":-8,"low_freq_factor":1,"high_freq_factor":4,"original_context":8192}"#, "-8"),
        ] {
            let refusal = refusal(json);
            assert_eq!(refusal.kind(), ErrorKind::Invalid, "{refusal}");
            assert!(refusal.to_string().contains(word), "{refusal}");
        }
        assert_eq!(Origin::default().rope().unwrap_err().kind(), ErrorKind::Invalid, "no theta");
    }
}
