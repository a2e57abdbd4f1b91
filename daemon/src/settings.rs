//! Settings: defaults, then a TOML file, then `KVDEPOT__SECTION__KEY` in the environment, then flags.

mod byte_size;
mod load;

#[cfg(test)]
mod tests;

use std::path::PathBuf;

use kvdepot_codec::KvChunk;
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
    pub quic: ListenSettings,
    /// What is kept, and how.
    pub store: StoreSettings,
    /// What is logged, and how.
    pub log: LogSettings,
    /// How the daemon stops.
    pub shutdown: ShutdownSettings,
}

/// Where a plane listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenSettings {
    /// Host and port; port 0 takes a free one.
    pub listen: String,
}

/// What is kept, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreSettings {
    /// Most bytes of chunks, stored and arriving; 0 for no limit.
    pub quota_bytes: ByteSize,
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
            quic: ListenSettings { listen: "127.0.0.1:7441".to_owned() },
            store: StoreSettings { quota_bytes: ByteSize::default(), chunk_tokens: 256, sync: false },
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
        self.grpc.check("grpc")?;
        self.quic.check("quic")
    }

    /// The settings as TOML, as a file would have them.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).unwrap_or_else(|error| format!("# {error}\n"))
    }
}

impl ListenSettings {
    /// Host of the address: a name or an IP address, without brackets.
    pub(crate) fn host(&self) -> &str {
        self.listen.rsplit_once(':').map_or(self.listen.as_str(), |(host, _)| host.trim_matches(['[', ']']))
    }

    fn check(&self, section: &str) -> Result<()> {
        let port = self.listen.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
        if self.host().is_empty() || port.is_none() {
            return Err(Error::invalid(format!("{section}.listen is {:?}, expected host:port", self.listen)));
        }
        Ok(())
    }
}
