//! Prompts and messages to tokens.

use kvdepot_client::{Error, Result};
use kvdepot_engine::TextCodec;
use serde::{Deserialize, Serialize};

use super::template::ChatTemplate;

/// The prompt of `/v1/completions`: a text, its tokens, or several of either.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Prompt {
    Text(String),
    Tokens(Vec<u32>),
    Texts(Vec<String>),
    SeveralTokens(Vec<Vec<u32>>),
}

/// A message of `/v1/chat/completions`.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Message {
    role: String,
    content: Content,
}

/// A text, in one piece or in parts.
#[derive(Debug, Deserialize, Serialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

/// A part of a text.
#[derive(Debug, Deserialize, Serialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum Part {
    Text { text: String },
}

impl Prompt {
    /// Contexts, one for each prompt.
    pub(super) fn contexts(self, text: Option<&TextCodec>) -> Result<Vec<Vec<u32>>> {
        let encode = |prompt: &String| {
            let text =
                text.ok_or_else(|| Error::invalid("the model has no tokenizer.json: give the prompt as tokens"))?;
            text.encode(prompt).map_err(|error| Error::invalid(error.to_string()))
        };
        let contexts = match self {
            Self::Text(prompt) => vec![encode(&prompt)?],
            Self::Tokens(tokens) => vec![tokens],
            Self::Texts(prompts) => prompts.iter().map(encode).collect::<Result<_>>()?,
            Self::SeveralTokens(contexts) => contexts,
        };
        if contexts.is_empty() || contexts.iter().any(Vec::is_empty) {
            return Err(Error::invalid("parameter \"prompt\" has no tokens"));
        }
        Ok(contexts)
    }
}

/// The context of a conversation, up to where the assistant speaks.
pub(super) fn conversation(
    messages: Vec<Message>,
    text: Option<&TextCodec>,
    template: Option<&ChatTemplate>,
) -> Result<Vec<u32>> {
    let (Some(text), Some(template)) = (text, template) else {
        return Err(Error::invalid("the model has no chat template: ask /v1/completions"));
    };
    if messages.is_empty() {
        return Err(Error::invalid("parameter \"messages\" is empty"));
    }
    let messages: Vec<Message> = messages.into_iter().map(Message::joined).collect();
    text.encode_suffix(&template.render(&messages)?).map_err(|error| Error::invalid(error.to_string()))
}

impl Message {
    /// With its content in one piece, which is what templates take.
    fn joined(self) -> Self {
        let content = match self.content {
            Content::Text(text) => text,
            Content::Parts(parts) => parts.into_iter().map(|Part::Text { text }| text).collect(),
        };
        Self { content: Content::Text(content), ..self }
    }
}
