//! Workspace tests: one promise per file.

mod cli_errors;
mod codec_cli;
mod lossy_scope;
mod put_get;
mod stream_resume;
