//! Rotary position embedding as a part of identity: any kind, by name and parameters, and the codec's among them.

use kvdepot_codec::RopeScaling;

use crate::{Error, ErrorKind, Result, limits, spec::check_name, v1};

const DEFAULT: &str = "default";
const LLAMA3: &str = "llama3";
const FACTOR: &str = "factor";
const LOW_FREQ_FACTOR: &str = "low_freq_factor";
const HIGH_FREQ_FACTOR: &str = "high_freq_factor";
const ORIGINAL_CONTEXT: &str = "original_max_position_embeddings";

/// Rotary position embedding that the keys carry.
#[derive(Debug, Clone, PartialEq)]
pub struct Rope {
    /// The name that Hugging Face configurations use: `default`, `llama3`, ...
    pub kind: String,
    /// Base of the frequencies.
    pub theta: f64,
    /// Further parameters of the kind, sorted by name.
    pub parameters: Vec<(String, f64)>,
}

impl From<&kvdepot_codec::Rope> for Rope {
    fn from(rope: &kvdepot_codec::Rope) -> Self {
        let (kind, parameters) = match rope.scaling {
            RopeScaling::None => (DEFAULT, vec![]),
            RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } => (
                LLAMA3,
                vec![
                    (FACTOR, factor),
                    (HIGH_FREQ_FACTOR, high_freq_factor),
                    (LOW_FREQ_FACTOR, low_freq_factor),
                    (ORIGINAL_CONTEXT, original_context),
                ],
            ),
        };
        let parameters = parameters.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Self { kind: kind.to_owned(), theta: rope.theta, parameters }
    }
}

impl TryFrom<&Rope> for kvdepot_codec::Rope {
    type Error = Error;

    /// The codec's form, which levels that turn keys back need.
    ///
    /// # Errors
    /// `Incompatible` for a kind that this build does not compute, or other parameters than the kind has.
    fn try_from(rope: &Rope) -> Result<Self> {
        let incompatible =
            |reason: String| Error::new(ErrorKind::Incompatible, format!("RoPE kind {:?} {reason}", rope.kind));
        let parameter = |name: &str| {
            let found = rope.parameters.iter().find(|(known, _)| known == name).map(|(_, value)| *value);
            found.ok_or_else(|| incompatible(format!("without {name}")))
        };
        let scaling = match rope.kind.as_str() {
            DEFAULT => RopeScaling::None,
            LLAMA3 => RopeScaling::Llama3 {
                factor: parameter(FACTOR)?,
                low_freq_factor: parameter(LOW_FREQ_FACTOR)?,
                high_freq_factor: parameter(HIGH_FREQ_FACTOR)?,
                original_context: parameter(ORIGINAL_CONTEXT)?,
            },
            _ => return Err(incompatible(format!("is not known to this build: it has {DEFAULT}, {LLAMA3}"))),
        };
        let codec_rope = Self { theta: rope.theta, scaling };
        codec_rope.check().map_err(|error| incompatible(error.to_string()))?;
        let known = Rope::from(&codec_rope).parameters;
        match rope.parameters.iter().find(|(name, _)| !known.iter().any(|(known, _)| known == name)) {
            Some((name, value)) => Err(incompatible(format!("with {name} {value}, which it does not have"))),
            None => Ok(codec_rope),
        }
    }
}

impl TryFrom<v1::Rope> for Rope {
    type Error = Error;

    fn try_from(message: v1::Rope) -> Result<Self> {
        check_name("rope.kind", &message.kind)?;
        let count = message.parameters.len();
        if count > limits::MAX_ROPE_PARAMETERS {
            return Err(Error::invalid(format!("{count} rope parameters, at most {}", limits::MAX_ROPE_PARAMETERS)));
        }
        let mut parameters: Vec<_> = message.parameters.into_iter().map(|p| (p.name, p.value)).collect();
        parameters.iter().try_for_each(|(name, _)| check_name("rope parameter", name))?;
        parameters.sort_by(|a, b| a.0.cmp(&b.0));
        if let Some(((name, _), _)) = parameters.iter().zip(parameters.iter().skip(1)).find(|(a, b)| a.0 == b.0) {
            return Err(Error::invalid(format!("rope parameter {name:?} given twice")));
        }
        if !message.theta.is_finite() || !parameters.iter().all(|(_, value)| value.is_finite()) {
            return Err(Error::invalid("rope with a value that is not finite"));
        }
        Ok(Self { kind: message.kind, theta: message.theta, parameters })
    }
}

impl From<&Rope> for v1::Rope {
    fn from(rope: &Rope) -> Self {
        let parameter = |(name, value): &(String, f64)| v1::RopeParameter { name: name.clone(), value: *value };
        Self { kind: rope.kind.clone(), theta: rope.theta, parameters: rope.parameters.iter().map(parameter).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn llama3() -> Rope {
        let scaling =
            RopeScaling::Llama3 { factor: 8.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_context: 8192.0 };
        (&kvdepot_codec::Rope { theta: 5e5, scaling }).into()
    }

    fn parsed(rope: &Rope) -> Result<kvdepot_codec::Rope> {
        rope.try_into()
    }

    #[test]
    fn the_codecs_rope_survives() {
        for rope in [(&kvdepot_codec::Rope::plain(1e4)).into(), llama3()] {
            assert_eq!(Rope::from(&parsed(&rope).unwrap()), rope);
            assert_eq!(Rope::try_from(v1::Rope::from(&rope)).unwrap(), rope, "sorted as messages have it");
        }
    }

    #[test]
    fn a_rope_that_the_codec_does_not_compute_is_incompatible() {
        let changed = |change: fn(&mut Rope)| {
            let mut rope = llama3();
            change(&mut rope);
            parsed(&rope).unwrap_err()
        };
        for (refused, words) in [
            (changed(|rope| rope.kind = "yarn".to_owned()), "\"yarn\" is not known"),
            (changed(|rope| drop(rope.parameters.remove(0))), "without factor"),
            (changed(|rope| rope.parameters.push(("mscale".to_owned(), 1.0))), "mscale 1"),
            (changed(|rope| rope.parameters.iter_mut().for_each(|(_, value)| *value = -1.0)), "-1"),
            (changed(|rope| rope.theta = 0.0), "theta: 0"),
        ] {
            assert_eq!(refused.kind(), ErrorKind::Incompatible, "{refused}");
            assert!(refused.to_string().contains(words), "{refused}");
        }
    }
}
