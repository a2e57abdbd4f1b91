//! What a body asks for.

use kvdepot_client::{Error, Result};
use kvdepot_engine::{Request, Sampling, TextCodec};
use serde::Deserialize;
use serde_json::Value;

use super::fields::Fields;
use super::prompt::{Message, Prompt, conversation};
use super::sampling::{take_sampling, take_stops};
use super::template::ChatTemplate;

/// Most choices of one body.
const MAX_CHOICES: usize = 128;
/// Most alternatives to a token that are told, as OpenAI has it.
const MAX_ALTERNATIVES: usize = 20;
/// Parameters that say nothing about the tokens.
const WITHOUT_EFFECT: [&str; 4] = ["user", "metadata", "store", "service_tier"];

/// Which of the API a body is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(in crate::cli) enum Endpoint {
    #[serde(rename = "/v1/completions")]
    Completions,
    #[serde(rename = "/v1/chat/completions")]
    Chat,
}

impl Endpoint {
    /// Its path.
    pub(in crate::cli) const fn path(self) -> &'static str {
        match self {
            Self::Completions => "/v1/completions",
            Self::Chat => "/v1/chat/completions",
        }
    }
}

/// What bodies are read with.
pub(in crate::cli) struct Defaults<'a> {
    pub(in crate::cli) text: Option<&'a TextCodec>,
    pub(in crate::cli) template: Option<&'a ChatTemplate>,
    /// Names that the model goes by; any, if there are none.
    pub(in crate::cli) model_names: &'a [String],
    /// Most tokens to decode of a request that does not say.
    pub(in crate::cli) max_tokens: usize,
    /// Tokens that end a completion.
    pub(in crate::cli) stop_tokens: &'a [u32],
}

/// A body, understood.
#[derive(Debug)]
pub(in crate::cli) struct Asked {
    pub(in crate::cli) endpoint: Endpoint,
    pub(in crate::cli) model: String,
    /// One for each choice: prompts in order, and the choices of each.
    pub(in crate::cli) requests: Vec<Request>,
    /// Strings that end a completion, and are not part of it.
    pub(in crate::cli) stops: Vec<String>,
    pub(in crate::cli) wants_logprobs: bool,
    pub(in crate::cli) wants_stream: bool,
    /// Whether a stream ends with what was used.
    pub(in crate::cli) wants_usage: bool,
}

/// `stream_options`.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
}

impl Asked {
    /// Understands a body.
    ///
    /// # Errors
    /// `Invalid` for what is missing, unknown, not supported or makes no sense, by name.
    pub(in crate::cli) fn new(endpoint: Endpoint, body: Value, defaults: &Defaults<'_>) -> Result<Self> {
        let mut fields = Fields::new(body)?;
        let model: String = fields.need("model")?;
        if !(defaults.model_names.is_empty() || defaults.model_names.contains(&model)) {
            return Err(Error::new(
                kvdepot_client::ErrorKind::NotFound,
                format!("model {model:?} is not here: this is {:?}", defaults.model_names[0]),
            ));
        }
        let contexts = match endpoint {
            Endpoint::Completions => fields.need::<Prompt>("prompt")?.contexts(defaults.text)?,
            Endpoint::Chat => {
                vec![conversation(fields.need::<Vec<Message>>("messages")?, defaults.text, defaults.template)?]
            }
        };
        let sampling = take_sampling(&mut fields)?;
        let stops = take_stops(&mut fields)?;
        let choices = fields.take("n")?.unwrap_or(1);
        if choices == 0 || contexts.len().saturating_mul(choices) > MAX_CHOICES {
            return Err(Error::invalid(format!(
                "{} prompts with {choices} choices: 1 to {MAX_CHOICES} in all",
                contexts.len()
            )));
        }
        let most: Option<usize> = fields.take("max_completion_tokens")?;
        let max_tokens = most.or(fields.take("max_tokens")?).unwrap_or(defaults.max_tokens);
        let logprobs = take_logprobs(endpoint, &mut fields)?;
        let wants_stream = fields.take("stream")?.unwrap_or(false);
        let StreamOptions { include_usage: wants_usage } = fields.take("stream_options")?.unwrap_or_default();
        fields.finish(&WITHOUT_EFFECT)?;
        let request = |context: &Vec<u32>, choice: usize| Request {
            suffix: context.clone(),
            max_tokens,
            sampling: Sampling { seed: sampling.seed.wrapping_add(choice as u64), ..sampling },
            stop_tokens: defaults.stop_tokens.to_vec(),
            top_logprobs: logprobs.unwrap_or(0),
        };
        let requests = contexts.iter().flat_map(|context| (0..choices).map(move |choice| request(context, choice)));
        Ok(Self {
            endpoint,
            model,
            requests: requests.collect(),
            stops,
            wants_logprobs: logprobs.is_some(),
            wants_stream,
            wants_usage,
        })
    }
}

/// Takes `logprobs` and `top_logprobs`: of how many alternatives logarithms are wanted beside those of the choice, if any are.
fn take_logprobs(endpoint: Endpoint, fields: &mut Fields) -> Result<Option<usize>> {
    let alternatives: Option<usize> = match endpoint {
        Endpoint::Completions => fields.take("logprobs")?,
        Endpoint::Chat => {
            let alternatives: Option<usize> = fields.take("top_logprobs")?;
            match fields.take("logprobs")?.unwrap_or(false) {
                true => Some(alternatives.unwrap_or(0)),
                false if alternatives.is_some() => {
                    return Err(Error::invalid("parameter \"top_logprobs\" needs \"logprobs\": true"));
                }
                false => None,
            }
        }
    };
    match alternatives {
        Some(count) if count > MAX_ALTERNATIVES => {
            Err(Error::invalid(format!("logprobs of {count} alternatives: at most {MAX_ALTERNATIVES}")))
        }
        alternatives => Ok(alternatives),
    }
}
