//! A model in memory, as the commands name it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use kvdepot_client::{Error, files};
use kvdepot_engine::{Model, Precision, Runner, Settings, TextCodec};

/// Which model, and how to run it.
#[derive(Debug, clap::Args)]
pub(super) struct EngineArgs {
    /// Hugging Face directory of the model
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// What to compute and keep KV in [default: bf16 where the weights are, else f32]
    #[arg(long, value_enum)]
    dtype: Option<DtypeArg>,
    /// Most memory for KV pages, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 4096)]
    kv_memory: usize,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum DtypeArg {
    /// Weights and KV in bf16, sums in f32
    Bf16,
    /// Everything in f32
    F32,
}

/// A model, ready to run.
pub(super) struct Engine {
    pub(super) runner: Runner,
    /// None where the directory has no tokenizer.
    text: Option<TextCodec>,
    dir: PathBuf,
}

impl EngineArgs {
    pub(super) fn load(&self) -> anyhow::Result<Engine> {
        let precision = self.dtype.map(|dtype| match dtype {
            DtypeArg::Bf16 => Precision::Bf16,
            DtypeArg::F32 => Precision::F32,
        });
        let model = Model::load(&self.model, precision)?;
        let text = match TextCodec::open(&self.model, model.config()) {
            Err(error) if error.kind() == kvdepot_engine::ErrorKind::NotFound => None,
            text => Some(text?),
        };
        let settings = Settings { kv_limit_bytes: self.kv_memory.saturating_mul(1 << 20), ..Settings::default() };
        Ok(Engine { runner: Runner::new(model, settings), text, dir: self.model.clone() })
    }
}

impl Engine {
    /// The directory that the model came from.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The tokenizer, if the directory has one.
    pub(super) fn tokenizer(&self) -> Option<&TextCodec> {
        self.text.as_ref()
    }

    /// The tokenizer, which the command cannot do without.
    pub(super) fn text(&self) -> anyhow::Result<&TextCodec> {
        let missing = || {
            Error::new(
                kvdepot_client::ErrorKind::NotFound,
                format!("{} has no tokenizer.json, which text needs", self.dir.display()),
            )
        };
        Ok(self.text.as_ref().ok_or_else(missing)?)
    }

    /// Tokens of a text file that begins a context.
    pub(super) fn tokens_of(&self, path: &Path) -> anyhow::Result<Vec<u32>> {
        let tokens = self.text()?.encode(&files::read_text(path)?)?;
        if tokens.is_empty() {
            return Err(Error::invalid(format!("{} has no tokens", path.display())).into());
        }
        Ok(tokens)
    }
}

/// Milliseconds, with fractions.
pub(super) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
