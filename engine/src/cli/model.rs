//! Which model runs, and in what.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use kvdepot_engine::{Error, Model, Precision, Runner, Settings, TextCodec};

#[derive(Args)]
pub(super) struct ModelArgs {
    /// Hugging Face directory of the model.
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// Name of the model in the depot's identity; the directory's own name if not given.
    #[arg(long, value_name = "NAME")]
    model_name: Option<String>,
    /// What to compute in: f32 or bf16; bf16 where the weights are, if not given.
    #[arg(long, value_name = "DTYPE")]
    dtype: Option<Precision>,
    /// Threads; all cores if not given. Their number changes no result.
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Most memory for KV.
    #[arg(long, value_name = "MIB", default_value_t = 4096)]
    kv_mib: usize,
}

impl ModelArgs {
    /// Loads the model and sets up the threads it runs on.
    pub(super) fn runner(&self) -> Result<Runner> {
        let threads = rayon::ThreadPoolBuilder::new().num_threads(self.threads.unwrap_or(0));
        threads.build_global().context("cannot start threads")?;
        let settings = Settings { kv_limit_bytes: self.kv_mib.saturating_mul(1 << 20), ..Settings::default() };
        Ok(Runner::new(Model::load(&self.model, self.dtype)?, settings))
    }

    /// The directory's tokenizer.
    pub(super) fn text_codec(&self, runner: &Runner) -> Result<TextCodec> {
        Ok(TextCodec::open(&self.model, runner.model().config())?)
    }

    /// The name under which KV is identified.
    pub(super) fn name(&self) -> String {
        let path = self.model.canonicalize().unwrap_or_else(|_| self.model.clone());
        let own = || path.file_name().map_or_else(|| "model".to_owned(), |name| name.to_string_lossy().into_owned());
        self.model_name.clone().unwrap_or_else(own)
    }
}

/// Reads a text file.
pub(super) fn read_text(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|error| Error::Invalid(format!("{}: {error}", path.display())).into())
}
