//! The log, on standard error.

use std::io::IsTerminal;

use kvdepot_proto::{Error, Result};
use tracing_subscriber::EnvFilter;

use crate::settings::{LogFormat, LogSettings};

/// Starts logging for the whole process.
///
/// # Errors
/// `Invalid` for a filter that cannot be read, or when logging has been started before.
pub fn start(settings: &LogSettings) -> Result<()> {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter(settings)?)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match settings.format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    }
    .map_err(|error| Error::invalid(format!("log: {error}")))
}

pub(crate) fn filter(settings: &LogSettings) -> Result<EnvFilter> {
    EnvFilter::try_new(&settings.filter)
        .map_err(|error| Error::invalid(format!("log.filter is {:?}: {error}", settings.filter)))
}
