//! `kvdepot-engine bench report`.

use std::fmt;
use std::path::PathBuf;

use kvdepot_client::{Error, files};
use serde::Serialize;

use super::super::report::Outcome;
use super::results::TraceResult;
use super::{markdown, plot};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct ReportArgs {
    /// What `bench fetch --json` printed, a file for each trace
    #[arg(required = true, value_name = "RESULT.json")]
    results: Vec<PathBuf>,
    /// Page to write
    #[arg(long, value_name = "FILE.md")]
    markdown: Option<PathBuf>,
    /// Picture to write
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
}

/// All traces together.
#[derive(Debug, Serialize)]
pub(super) struct BenchReport {
    results: Vec<TraceResult>,
}

impl ReportArgs {
    pub(super) fn run(&self) -> anyhow::Result<BenchReport> {
        let read = |path: &PathBuf| {
            let not_ours = |error| Error::invalid(format!("{} is no result: {error}", path.display()));
            Ok(serde_json::from_slice(&files::read(path)?).map_err(not_ours)?)
        };
        let results = self.results.iter().map(read).collect::<anyhow::Result<Vec<TraceResult>>>()?;
        if let Some(path) = &self.markdown {
            let page = markdown::page(&results);
            files::write_whole(path, |part| std::fs::write(part, page).map_err(files::unwritable(path)))?;
        }
        if let Some(path) = &self.plot {
            plot::write(path, &results)?;
        }
        Ok(BenchReport { results })
    }
}

impl Outcome for BenchReport {}

impl fmt::Display for BenchReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", markdown::table(&self.results), markdown::summary(&self.results))
    }
}
