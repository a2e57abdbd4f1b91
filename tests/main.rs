//! Workspace tests: one promise per file.

mod cli_errors;
mod codec_cli;
mod put_get;
