//! Requests and responses in the shapes of OpenAI's API.
//!
//! Owns what a body means: its parameters, its prompt as tokens, and the body of the answer. Nothing here runs a model.

mod asked;
mod fields;
mod prompt;
mod respond;
mod sampling;
mod speech;
mod template;

pub(super) use asked::{Asked, Defaults, Endpoint};
pub(super) use respond::{Answered, error_code, has_stop, usage};
pub(super) use speech::{Speech, Spoken};
pub(super) use template::ChatTemplate;
