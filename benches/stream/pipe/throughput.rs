//! Fetches, one after another on a warm connection.

use std::time::{Duration, Instant};

use anyhow::Result;
use kvdepot_client::{Client, TransportChoice};

use crate::host::{Context, Host};
use crate::report::Report;

/// What is fetched over which plane, for how long.
pub(crate) struct Run<'a> {
    pub(crate) name: &'a str,
    pub(crate) transport: TransportChoice,
    pub(crate) host: &'a Host,
    pub(crate) context: &'a Context,
    pub(crate) time: Duration,
}

impl Run<'_> {
    /// Payload per second, and what it costs each side.
    pub(crate) async fn payload(&self, report: &mut Report) -> Result<()> {
        let client = self.host.client(self.transport).await?;
        self.fetch(&client).await?;
        let (before, started, mut gb) = (self.host.cpu_secs()?, Instant::now(), 0.0);
        while started.elapsed() < self.time {
            gb += self.fetch(&client).await? / 1e9;
        }
        let (after, secs) = (self.host.cpu_secs()?, started.elapsed().as_secs_f64());
        report.add(&format!("{}: payload", self.name), "GB/s", gb / secs);
        for (side, (after, before)) in ["daemon", "receiver"].into_iter().zip(after.into_iter().zip(before)) {
            report.add(&format!("{}: processor time of the {side}", self.name), "s/GB", (after - before) / gb);
        }
        Ok(())
    }

    /// How long a small fetch takes.
    pub(crate) async fn latency(&self, report: &mut Report) -> Result<()> {
        let client = self.host.client(self.transport).await?;
        self.fetch(&client).await?;
        let (started, mut millis) = (Instant::now(), Vec::new());
        while started.elapsed() < self.time {
            let asked = Instant::now();
            self.fetch(&client).await?;
            millis.push(asked.elapsed().as_secs_f64() * 1e3);
        }
        let Context { segments, payload_bytes, .. } = self.context;
        let name = format!("{}: {segments} segments, {payload_bytes} bytes", self.name);
        report.add_percentiles(&name, "ms", &mut millis);
        Ok(())
    }

    /// KV per second when the receiver decodes while it receives.
    pub(crate) async fn decoded(&self, report: &mut Report) -> Result<()> {
        let client = self.host.client(self.transport).await?;
        let (started, mut gb) = (Instant::now(), 0.0);
        while started.elapsed() < self.time {
            client.fetch_kv(&self.context.request, |_| ()).await?;
            gb += self.context.kv_bytes as f64 / 1e9;
        }
        report.add(&format!("{}: KV", self.name), "GB/s", gb / started.elapsed().as_secs_f64());
        Ok(())
    }

    /// Fetches the context; gives the bytes that came.
    async fn fetch(&self, client: &Client) -> Result<f64> {
        Ok(client.fetch(&self.context.request, |_| Ok(())).await?.payload_bytes as f64)
    }
}
