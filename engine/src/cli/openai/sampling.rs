//! How tokens are chosen, as a body says it.

use kvdepot_client::{Error, Result};
use kvdepot_engine::Sampling;
use serde::Deserialize;

use super::fields::Fields;

/// Most stop strings of a request, as OpenAI has it.
const MAX_STOPS: usize = 4;

/// One stop string, or several.
#[derive(Deserialize)]
#[serde(untagged)]
enum Stops {
    One(String),
    Some(Vec<String>),
}

/// Takes `temperature`, `top_p`, `seed`, and of the extensions that vLLM has too `top_k` and `min_p`. The default temperature is 1.
pub(super) fn take_sampling(fields: &mut Fields) -> Result<Sampling> {
    for name in ["frequency_penalty", "presence_penalty"] {
        if fields.take::<f32>(name)?.is_some_and(|penalty| penalty != 0.0) {
            return Err(Error::invalid(format!("parameter {name:?} is not supported: it must be 0")));
        }
    }
    let sampling = Sampling {
        temperature: fields.take("temperature")?.unwrap_or(1.0),
        // Everywhere else no limit is written 0, and -1 too.
        top_k: usize::try_from(fields.take::<i64>("top_k")?.unwrap_or(0)).unwrap_or(0),
        top_p: fields.take("top_p")?.unwrap_or(1.0),
        min_p: fields.take("min_p")?.unwrap_or(0.0),
        seed: fields.take::<i64>("seed")?.unwrap_or(0).cast_unsigned(),
    };
    sampling.check().map_err(|error| Error::invalid(error.to_string()))?;
    Ok(sampling)
}

/// Takes `stop`.
pub(super) fn take_stops(fields: &mut Fields) -> Result<Vec<String>> {
    let stops = match fields.take("stop")? {
        None => Vec::new(),
        Some(Stops::One(stop)) => vec![stop],
        Some(Stops::Some(stops)) => stops,
    };
    if stops.len() > MAX_STOPS || stops.iter().any(String::is_empty) {
        return Err(Error::invalid(format!(
            "parameter \"stop\" must be at most {MAX_STOPS} strings, none of them empty"
        )));
    }
    Ok(stops)
}
