//! Which depot, and how to reach it.

use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};
use kvdepot_client::{Client, ConnectOptions, Error, Result, TransportChoice};
use kvdepot_proto::data_dir;

#[derive(Args)]
pub(super) struct ConnectionArgs {
    /// Depot: unix:/path/kvdepot.sock or https://host:port [default: the socket in the default data directory]
    #[arg(long, global = true, env = "KVDEPOT_URL", value_name = "URL")]
    depot: Option<String>,
    /// Certificate to trust with https, in PEM [default: the one in the default data directory]
    #[arg(long, global = true, env = "KVDEPOT_CA", value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Longest wait for any single answer or step, in seconds
    #[arg(long, global = true, value_name = "SECONDS", default_value = "30", value_parser = some_seconds)]
    timeout: Duration,
    /// How long a transfer that broke is tried again, in seconds; 0 for never
    #[arg(long, global = true, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    resume_within: Duration,
    /// How KV travels
    #[arg(long, global = true, value_enum, default_value = "auto")]
    transport: TransportArg,
}

#[derive(Clone, Copy, ValueEnum)]
enum TransportArg {
    /// Shared memory for fetches from a depot on this host; QUIC; or gRPC when QUIC does not get through
    Auto,
    /// Shared memory for fetches, or an error
    Local,
    /// QUIC or an error
    Quic,
    /// gRPC
    Grpc,
}

impl ConnectionArgs {
    pub(super) async fn connect(&self) -> Result<Client> {
        let mut options = ConnectOptions::new(self.url()?);
        options.ca = self.ca.clone().or_else(default_certificate);
        options.timeout = self.timeout;
        options.resume_within = self.resume_within;
        options.transport = match self.transport {
            TransportArg::Auto => TransportChoice::Auto,
            TransportArg::Local => TransportChoice::Local,
            TransportArg::Quic => TransportChoice::Quic,
            TransportArg::Grpc => TransportChoice::Grpc,
        };
        Client::connect(&options).await
    }

    /// The depot given, or the one in the default data directory.
    pub(super) fn url(&self) -> Result<String> {
        if let Some(url) = &self.depot {
            return Ok(url.clone());
        }
        let dir = data_dir::default_data_dir()
            .ok_or_else(|| Error::invalid("neither XDG_DATA_HOME nor HOME is set: say which depot with --depot URL"))?;
        Ok(ConnectOptions::in_data_dir(&dir).url)
    }
}

fn default_certificate() -> Option<PathBuf> {
    data_dir::default_data_dir().map(|dir| dir.join(data_dir::CERTIFICATE)).filter(|path| path.exists())
}

fn seconds(text: &str) -> std::result::Result<Duration, String> {
    let duration = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    duration.ok_or_else(|| "expected a number of seconds".to_owned())
}

fn some_seconds(text: &str) -> std::result::Result<Duration, String> {
    let positive = seconds(text).ok().filter(|duration| !duration.is_zero());
    positive.ok_or_else(|| "expected a positive number of seconds".to_owned())
}
