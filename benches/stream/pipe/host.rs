//! A daemon of the benchmark's own, and clients of it.

use anyhow::{Context as _, Result};
use kvdepot_client::{Client, FetchRequest, TransportChoice};
use kvdepot_tests::DepotProcess;
use tempfile::TempDir;

use crate::clock::cpu_secs;
use crate::context::Shape;

/// A running depot in a directory that goes with it.
pub(crate) struct Host {
    depot: DepotProcess,
    _dir: TempDir,
}

/// A stored context, and how to ask for it.
pub(crate) struct Context {
    pub(crate) request: FetchRequest,
    pub(crate) payload_bytes: usize,
    pub(crate) kv_bytes: usize,
    pub(crate) segments: usize,
}

impl Host {
    /// Starts a depot; `given` are settings as `KEY=VALUE`, which override its own.
    pub(crate) fn start(own: &[(&str, String)], given: &[String]) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let given = given.iter().map(|setting| setting.split_once('=').context("a setting is KEY=VALUE"));
        let given = given.collect::<Result<Vec<_>>>()?;
        let own = own.iter().map(|(name, value)| (*name, value.as_str()));
        let settings: Vec<_> = own.chain(given).collect();
        let depot = DepotProcess::start(dir.path(), &settings)?;
        Ok(Self { depot, _dir: dir })
    }

    /// A client that moves KV as `transport` says.
    pub(crate) async fn client(&self, transport: TransportChoice) -> Result<Client> {
        let mut options = self.depot.connect_options();
        options.transport = transport;
        Ok(Client::connect(&options).await?)
    }

    /// Stores a context.
    pub(crate) async fn put(&self, shape: &Shape) -> Result<Context> {
        let client = self.client(TransportChoice::Quic).await?;
        let (tokens, chunks) = (shape.tokens(), shape.encoded()?);
        client.put(&shape.scope(), &tokens, &chunks, |_| ()).await?;
        let segments = chunks.iter().flat_map(|chunk| &chunk.segments);
        Ok(Context {
            request: FetchRequest::tokens(shape.scope(), tokens),
            payload_bytes: segments.clone().map(|segment| segment.bytes.len()).sum(),
            segments: segments.count(),
            kv_bytes: shape.kv_bytes(),
        })
    }

    /// Memory of the daemon, in MiB: that in use, `VmRSS`, or the most so far, `VmHWM`.
    pub(crate) fn memory_mib(&self, which: &str) -> Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.depot.endpoints().pid))?;
        let line = status.lines().find_map(|line| line.strip_prefix(which)).context("no such line of memory")?;
        Ok(line.trim_matches([':', '\t', ' ', 'k', 'B']).parse::<f64>()? / 1024.0)
    }

    /// Processor time of the daemon and of this process so far, in seconds.
    pub(crate) fn cpu_secs(&self) -> Result<[f64; 2]> {
        Ok([cpu_secs(self.depot.endpoints().pid)?, cpu_secs(std::process::id())?])
    }
}
