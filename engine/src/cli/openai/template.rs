//! Chat templates of Hugging Face directories.

use std::path::Path;

use kvdepot_client::{Error, ErrorKind, Result, files};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, ErrorKind as TemplateErrorKind, Value, context};
use serde::Deserialize;

use super::prompt::Message;

/// The name that the template has in its environment.
const NAME: &str = "chat";

/// How a model writes down a conversation.
///
/// Source: `apply_chat_template` of Hugging Face transformers: a Jinja template, with Python's methods of strings, lists and
/// dicts, and `raise_exception`.
#[derive(Debug)]
pub(in crate::cli) struct ChatTemplate {
    environment: Environment<'static>,
    bos_token: String,
    eos_token: String,
}

/// What of `tokenizer_config.json` says how.
#[derive(Deserialize, Default)]
struct TokenizerConfig {
    chat_template: Option<Templates>,
    bos_token: Option<SpecialToken>,
    eos_token: Option<SpecialToken>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Templates {
    One(String),
    Named(Vec<NamedTemplate>),
}

#[derive(Deserialize)]
struct NamedTemplate {
    name: String,
    template: String,
}

/// A token as text, or as an object that has it.
#[derive(Deserialize)]
#[serde(untagged)]
enum SpecialToken {
    Text(String),
    Object { content: String },
}

impl ChatTemplate {
    /// Reads `chat_template.jinja`, or else that of `tokenizer_config.json`; none where there is neither.
    ///
    /// # Errors
    /// `Invalid` for files that are not what they are named.
    pub(in crate::cli) fn open(dir: &Path) -> Result<Option<Self>> {
        let path = dir.join("tokenizer_config.json");
        let config: TokenizerConfig = match read(&path)? {
            Some(text) => serde_json::from_str(&text).map_err(|error| invalid(&path, &error))?,
            None => TokenizerConfig::default(),
        };
        let file = dir.join("chat_template.jinja");
        let source = match (read(&file)?, config.chat_template) {
            (Some(template), _) | (None, Some(Templates::One(template))) => template,
            (None, Some(Templates::Named(named))) => match named.into_iter().find(|named| named.name == "default") {
                Some(named) => named.template,
                None => return Ok(None),
            },
            (None, None) => return Ok(None),
        };
        let mut environment = environment();
        environment.add_template_owned(NAME, source).map_err(|error| invalid(&file, &error))?;
        Ok(Some(Self { environment, bos_token: text_of(config.bos_token), eos_token: text_of(config.eos_token) }))
    }

    /// The conversation as the model reads it, up to where the assistant speaks.
    pub(super) fn render(&self, messages: &[Message]) -> Result<String> {
        let refused =
            |error: minijinja::Error| Error::invalid(format!("the chat template refuses the messages: {error}"));
        let template = self.environment.get_template(NAME).map_err(refused)?;
        let (bos_token, eos_token) = (&self.bos_token, &self.eos_token);
        let messages = Value::from(Serde(messages));
        template.render(context! { messages, bos_token, eos_token, add_generation_prompt => true }).map_err(refused)
    }
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(syntax.expect("only delimiters can be refused"));
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.add_function("raise_exception", |message: String| -> std::result::Result<String, minijinja::Error> {
        Err(minijinja::Error::new(TemplateErrorKind::InvalidOperation, message))
    });
    environment
}

fn read(path: &Path) -> Result<Option<String>> {
    match files::read_text(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn invalid(path: &Path, error: &dyn std::error::Error) -> Error {
    Error::invalid(format!("{}: {error}", path.display()))
}

fn text_of(token: Option<SpecialToken>) -> String {
    match token {
        None => String::new(),
        Some(SpecialToken::Text(text) | SpecialToken::Object { content: text }) => text,
    }
}
