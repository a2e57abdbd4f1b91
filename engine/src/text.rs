//! Text to tokens and back.

use std::path::Path;

use serde::Deserialize;
use tokenizers::Tokenizer;

use crate::config::{ModelConfig, read_json};
use crate::{Error, Result};

/// The tokenizer of a model directory.
///
/// How a text begins, in this order:
/// 1. where `tokenizer_config.json` says `add_bos_token`, that decides;
/// 2. otherwise, where `tokenizer.json` has a post-processor, its result is taken as it is;
/// 3. otherwise the model's `bos_token_id`, if it has one, is put first.
///
/// A token that is there already is not doubled. Tokens that a caller gives are never changed.
#[derive(Debug)]
pub struct TextCodec {
    tokenizer: Tokenizer,
    bos_token: Option<u32>,
    digest: [u8; 32],
}

/// `tokenizer_config.json`.
#[derive(Deserialize)]
struct TokenizerConfig {
    add_bos_token: Option<bool>,
}

impl TextCodec {
    /// Reads `tokenizer.json`.
    ///
    /// # Errors
    /// `NotFound` where there is none, `Corrupt` where it is not a tokenizer.
    pub fn open(dir: &Path, config: &ModelConfig) -> Result<Self> {
        let path = dir.join("tokenizer.json");
        let bytes = std::fs::read(&path).map_err(Error::io(&path))?;
        let tokenizer =
            Tokenizer::from_bytes(&bytes).map_err(|error| Error::Corrupt(format!("{}: {error}", path.display())))?;
        let adds_bos = match read_json::<TokenizerConfig>(&dir.join("tokenizer_config.json")) {
            Ok(TokenizerConfig { add_bos_token: Some(adds) }) => adds,
            Ok(_) | Err(Error::NotFound(_)) => tokenizer.get_post_processor().is_none(),
            Err(error) => return Err(error),
        };
        let bos_token = config.bos_token.filter(|_| adds_bos);
        Ok(Self { tokenizer, bos_token, digest: *blake3::hash(&bytes).as_bytes() })
    }

    /// BLAKE3 of `tokenizer.json`.
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// Tokens of a text that begins a context.
    ///
    /// # Errors
    /// `Invalid` when the tokenizer refuses the text.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let mut tokens = self.ids(text, true)?;
        if let Some(bos) = self.bos_token.filter(|bos| tokens.first() != Some(bos)) {
            tokens.insert(0, bos);
        }
        Ok(tokens)
    }

    /// Tokens of a text that follows others: nothing is put before it.
    ///
    /// # Errors
    /// `Invalid` when the tokenizer refuses the text.
    pub fn encode_suffix(&self, text: &str) -> Result<Vec<u32>> {
        self.ids(text, false)
    }

    /// Text of `tokens`, without special tokens.
    ///
    /// # Errors
    /// `Invalid` when the tokenizer refuses the tokens.
    pub fn decode(&self, tokens: &[u32]) -> Result<String> {
        self.tokenizer.decode(tokens, true).map_err(|error| Error::Invalid(format!("tokens do not decode: {error}")))
    }

    fn ids(&self, text: &str, add_special_tokens: bool) -> Result<Vec<u32>> {
        let encoding = self.tokenizer.encode_fast(text, add_special_tokens);
        let refused = |error| Error::Invalid(format!("text of {} bytes does not tokenize: {error}", text.len()));
        Ok(encoding.map_err(refused)?.get_ids().to_vec())
    }
}
