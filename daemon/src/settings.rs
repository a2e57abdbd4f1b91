//! Settings: defaults, then a TOML file, then `KVDEPOT__SECTION__KEY` in the environment, then flags.

mod byte_size;
mod load;

#[cfg(test)]
mod tests;

use std::path::PathBuf;

use kvdepot_codec::KvChunk;
use kvdepot_proto::transport::{MAX_DATAGRAM_BYTES, MIN_DATAGRAM_BYTES};
use kvdepot_proto::{Error, Result};
use serde::{Deserialize, Serialize};

pub use self::byte_size::ByteSize;
pub use self::load::Sources;

/// Chunks are whole multiples of this many tokens: the codec's lanes.
const LANE_TOKENS: u32 = 32;

/// Everything that can be set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Directory of the store, the certificate and the Unix socket.
    pub data_dir: PathBuf,
    /// Control plane.
    pub grpc: ListenSettings,
    /// Data plane.
    pub quic: QuicSettings,
    /// What is kept, and how.
    pub store: StoreSettings,
    /// What is logged, and how.
    pub log: LogSettings,
    /// How the daemon stops.
    pub shutdown: ShutdownSettings,
}

/// Where the control plane listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenSettings {
    /// Host and port; port 0 takes a free one.
    pub listen: String,
}

/// Where the data plane listens, and what it lets its peers do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuicSettings {
    /// Host and port; port 0 takes a free one.
    pub listen: String,
    /// Most connections at a time.
    pub max_connections: usize,
    /// Most bytes that all fetches together have under way, besides one batch of each.
    pub max_under_way_bytes: ByteSize,
    /// Largest datagram to send and to take, for paths that lose larger ones without a word.
    pub max_datagram_bytes: u16,
}

/// What is kept, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreSettings {
    /// Most bytes of chunks, stored and arriving; 0 for no limit.
    pub quota_bytes: ByteSize,
    /// Most bytes of segments that are held in memory for further receivers; 0 for none.
    pub cache_bytes: ByteSize,
    /// Tokens per chunk, a multiple of 32. Fixed once the data directory is made.
    pub chunk_tokens: u32,
    /// Whether a put is acknowledged only when it survives the death of the machine, not just of the process.
    pub sync: bool,
}

/// What is logged, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogSettings {
    /// Form of a line.
    pub format: LogFormat,
    /// Which lines, as `tracing_subscriber`'s `EnvFilter` reads it.
    pub filter: String,
}

/// Form of a line of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// How the daemon stops.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShutdownSettings {
    /// Seconds that transfers in progress have to finish.
    pub drain_secs: u64,
}

impl Settings {
    /// The defaults, in a data directory.
    pub fn in_dir(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            grpc: ListenSettings { listen: "127.0.0.1:7440".to_owned() },
            quic: QuicSettings {
                listen: "127.0.0.1:7441".to_owned(),
                max_connections: 2048,
                max_under_way_bytes: ByteSize(1 << 30),
                max_datagram_bytes: MAX_DATAGRAM_BYTES,
            },
            store: StoreSettings {
                quota_bytes: ByteSize::default(),
                cache_bytes: ByteSize(256 << 20),
                chunk_tokens: 256,
                sync: false,
            },
            log: LogSettings { format: LogFormat::Text, filter: "info".to_owned() },
            shutdown: ShutdownSettings { drain_secs: 10 },
        }
    }

    /// Checks what the types of the settings do not.
    ///
    /// # Errors
    /// `Invalid`, naming the setting and its value.
    pub fn check(&self) -> Result<()> {
        if self.data_dir.as_os_str().is_empty() {
            return Err(Error::invalid("data_dir is not set, and there is no home directory to put one in"));
        }
        let chunk_tokens = self.store.chunk_tokens;
        if chunk_tokens == 0 || !chunk_tokens.is_multiple_of(LANE_TOKENS) || chunk_tokens as usize > KvChunk::MAX_TOKENS
        {
            return Err(Error::invalid(format!(
                "store.chunk_tokens is {chunk_tokens}, expected a multiple of {LANE_TOKENS} up to {}",
                KvChunk::MAX_TOKENS
            )));
        }
        crate::logging::filter(&self.log)?;
        check_address("grpc", &self.grpc.listen)?;
        check_address("quic", &self.quic.listen)?;
        self.quic.check()
    }

    /// The settings as TOML, as a file would have them.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).unwrap_or_else(|error| format!("# {error}\n"))
    }
}

impl QuicSettings {
    fn check(&self) -> Result<()> {
        let (bytes, in_range) = (self.max_datagram_bytes, MIN_DATAGRAM_BYTES..=MAX_DATAGRAM_BYTES);
        if !in_range.contains(&bytes) {
            return Err(Error::invalid(format!("quic.max_datagram_bytes is {bytes}, expected {in_range:?}")));
        }
        if self.max_connections == 0 {
            return Err(Error::invalid("quic.max_connections is 0, expected 1 or more"));
        }
        Ok(())
    }
}

/// Host of an address to listen on: a name or an IP address, without brackets.
pub(crate) fn host(listen: &str) -> &str {
    listen.rsplit_once(':').map_or(listen, |(host, _)| host.trim_matches(['[', ']']))
}

fn check_address(section: &str, listen: &str) -> Result<()> {
    let port = listen.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
    if host(listen).is_empty() || port.is_none() {
        return Err(Error::invalid(format!("{section}.listen is {listen:?}, expected host:port")));
    }
    Ok(())
}
