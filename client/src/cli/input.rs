//! Tokens, specs and scopes, from files and from the metadata of dumps.

use std::{collections::BTreeMap, path::Path};

use clap::Args;
use kvdepot_client::{Error, Result};
use kvdepot_codec::Origin;
use kvdepot_proto::{KvSpec, Manifest, Rope, Scope};

use kvdepot_client::files;

/// Metadata of a dump that holds its token ids, separated by commas.
const TOKENS: &str = "tokens";
/// Metadata of a dump that holds its spec as JSON.
const KV_SPEC: &str = "kv_spec";

#[derive(Args)]
pub(super) struct NamespaceArgs {
    /// Namespace
    #[arg(long, value_name = "NAME", default_value = Scope::DEFAULT_NAMESPACE)]
    namespace: String,
    /// Accept lossy levels; exact and lossy contexts are kept apart
    #[arg(long)]
    lossy: bool,
}

impl NamespaceArgs {
    pub(super) fn scope(&self, spec: KvSpec) -> Scope {
        Scope { namespace: self.namespace.clone(), lossy: self.lossy, ..Scope::exact(spec) }
    }
}

/// Token ids of a file, separated by commas or white space; a JSON array will do.
pub(super) fn read_tokens(path: &Path) -> Result<Vec<u32>> {
    let text = files::read_text(path)?;
    let list = text.trim().trim_start_matches('[').trim_end_matches(']');
    parse_tokens(list).map_err(|error| error.context(format!("{} is not a list of tokens", path.display())))
}

/// Spec of a JSON file.
pub(super) fn read_spec(path: &Path) -> Result<KvSpec> {
    KvSpec::from_json(&files::read_text(path)?).map_err(|error| error.context(path.display()))
}

/// Tokens of a dump, from `file` where given.
pub(super) fn dump_tokens(file: Option<&Path>, metadata: &BTreeMap<String, String>) -> Result<Vec<u32>> {
    match (file, metadata.get(TOKENS)) {
        (Some(path), _) => read_tokens(path),
        (None, Some(text)) => parse_tokens(text).map_err(|error| error.context("metadata `tokens` of the dump")),
        (None, None) => Err(Error::invalid("the dump's metadata has no `tokens`: pass --tokens FILE")),
    }
}

/// Spec of a dump, from `file` where given.
pub(super) fn dump_spec(file: Option<&Path>, metadata: &BTreeMap<String, String>) -> Result<KvSpec> {
    match (file, metadata.get(KV_SPEC)) {
        (Some(path), _) => read_spec(path),
        (None, Some(text)) => KvSpec::from_json(text).map_err(|error| error.context("metadata `kv_spec` of the dump")),
        (None, None) => Err(Error::invalid("the dump's metadata has no `kv_spec`: pass --spec FILE")),
    }
}

/// What a dump says of a context from position 0, so that it can be put again.
pub(super) fn origin(manifest: &Manifest) -> Origin {
    let tokens: Vec<String> = manifest.tokens.iter().map(u32::to_string).collect();
    let metadata = [(TOKENS, tokens.join(",")), (KV_SPEC, manifest.spec.to_json())];
    let mut origin = rope_origin(&manifest.spec.rope);
    origin.metadata.extend(metadata.map(|(name, value)| (name.to_owned(), value)));
    origin
}

/// Position 0 and RoPE. A kind that the codec does not compute is named, so that nobody takes it for another one.
fn rope_origin(rope: &Rope) -> Origin {
    kvdepot_codec::Rope::try_from(rope).map_or_else(
        |_| {
            let scaling = serde_json::json!({ "kind": rope.kind }).to_string();
            let metadata = [(Origin::ROPE_SCALING.to_owned(), scaling)].into();
            Origin { rope_theta: rope.theta, first_position: 0, metadata }
        },
        |rope| Origin::new(&rope, 0),
    )
}

fn parse_tokens(text: &str) -> Result<Vec<u32>> {
    text.split([',', ' ', '\t', '\r', '\n'])
        .filter(|token| !token.is_empty())
        .map(|token| token.parse().map_err(|_| Error::invalid(format!("{token:?} is not a token id"))))
        .collect()
}
