//! Where a model's KV is looked up.

use std::path::Path;

use anyhow::Context as _;
use kvdepot_engine::Model;
use kvdepot_proto::{KvSpec, Scope};

use super::engine::Engine;

/// Where the depot keeps the KV of this model.
#[derive(Debug, clap::Args)]
pub(super) struct ScopeArgs {
    /// Name of the model in the depot [default: the name of its directory]
    #[arg(long, value_name = "NAME")]
    model_name: Option<String>,
    /// Namespace in the depot
    #[arg(long, value_name = "NAME", default_value = Scope::DEFAULT_NAMESPACE)]
    namespace: String,
}

impl ScopeArgs {
    /// The scope of the engine's model; only a lossy scope holds lossy levels.
    pub(super) fn scope(&self, engine: &Engine, lossy: bool) -> anyhow::Result<Scope> {
        let name = match &self.model_name {
            Some(name) => name.clone(),
            None => directory_name(engine.dir())?,
        };
        Ok(Scope { namespace: self.namespace.clone(), lossy, ..Scope::exact(spec(name, engine)) })
    }
}

/// Everything that makes KV of this engine interchangeable with other KV.
fn spec(name: String, engine: &Engine) -> KvSpec {
    let model = engine.runner.model();
    KvSpec {
        model: name,
        weights_digest: computation_digest(model),
        tokenizer_digest: engine.tokenizer().map(|text| text.digest()),
        adapter: String::new(),
        geometry: engine.runner.geometry(),
        rope: (&model.config().rope).into(),
        // Contexts beyond a window are refused, and within it attention is full.
        sliding_window: None,
    }
}

/// Digest of the weights and of what the configuration says about computing with them: the same tensors under another
/// epsilon or another number of query heads give other KV.
fn computation_digest(model: &Model) -> [u8; 32] {
    let config = model.config();
    let mut hasher = blake3::Hasher::new_derive_key("kvdepot-engine weights and computation");
    hasher.update(&model.digest().0);
    hasher.update(config.architecture.name().as_bytes());
    hasher.update(&(config.num_q_heads as u64).to_le_bytes());
    hasher.update(&config.rms_norm_eps.to_le_bytes());
    *hasher.finalize().as_bytes()
}

/// The name of a model's directory.
pub(super) fn directory_name(dir: &Path) -> anyhow::Result<String> {
    let dir = dir.canonicalize().with_context(|| format!("cannot find the model directory {}", dir.display()))?;
    let name = dir.file_name().map(|name| name.to_string_lossy().into_owned());
    name.with_context(|| format!("{} has no name: pass --model-name", dir.display()))
}
