//! Workspace tests: one promise per file.

mod batch_depot;
mod batch_full_disk;
mod bench_fetch;
mod both_ends;
mod cli_errors;
mod codec_bench;
mod codec_cli;
mod corrupt_store;
mod crash_recovery;
mod deadlines;
mod full_disk;
mod killed_daemon;
mod layer_order;
mod local_plane;
mod lossy_scope;
mod main_job;
mod many_receivers;
mod put_get;
mod quality_layers;
mod relay;
mod stalled_receiver;
mod stream_resume;
mod stream_steering;
mod warm_client;
mod wrong_spec;
