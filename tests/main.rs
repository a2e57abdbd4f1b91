//! Workspace tests: one promise per file.

mod both_ends;
mod cli_errors;
mod codec_bench;
mod codec_cli;
mod crash_recovery;
mod full_disk;
mod local_plane;
mod lossy_scope;
mod main_job;
mod many_receivers;
mod put_get;
mod quality_layers;
mod stream_resume;
mod stream_steering;
