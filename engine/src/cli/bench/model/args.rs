//! `kvdepot-engine bench checkpoint`.

use std::fmt;
use std::path::PathBuf;

use indicatif::HumanBytes;
use kvdepot_client::Error;
use serde::Serialize;

use super::super::super::report::Outcome;
use super::ShapeArg;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct CheckpointArgs {
    /// Shape of the model
    #[arg(long, value_enum)]
    shape: ShapeArg,
    /// Directory to make
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
}

/// What was written.
#[derive(Debug, Serialize)]
pub(in crate::cli::bench) struct Written {
    path: PathBuf,
    parameters: usize,
    weight_bytes: usize,
}

impl CheckpointArgs {
    pub(in crate::cli::bench) fn run(&self) -> anyhow::Result<Written> {
        if self.output.join("config.json").exists() {
            return Err(Error::invalid(format!("{} has a model already", self.output.display())).into());
        }
        let shape = self.shape.shape();
        super::write(shape, &self.output)?;
        Ok(Written {
            path: self.output.clone(),
            parameters: shape.num_parameters(),
            weight_bytes: shape.weight_bytes(),
        })
    }
}

impl Outcome for Written {}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = HumanBytes(self.weight_bytes as u64);
        write!(f, "{}: {} random parameters, {bytes}", self.path.display(), self.parameters)
    }
}
