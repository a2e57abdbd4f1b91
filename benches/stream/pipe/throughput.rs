//! Fetches, one after another on a warm connection.

use std::time::{Duration, Instant};

use anyhow::Result;
use kvdepot_client::{Client, TransportChoice};

use crate::host::{Context, Host};
use crate::report::Report;

/// Payload per second, and what it costs each side.
pub(crate) async fn payload(host: &Host, context: &Context, name: &str, time: Duration, report: &mut Report) -> Result<()> {
    let client = host.client(TransportChoice::Quic).await?;
    fetch(&client, context).await?;
    let (before, started, mut bytes) = (host.cpu_secs()?, Instant::now(), 0.0);
    while started.elapsed() < time {
        bytes += fetch(&client, context).await? / 1e9;
    }
    let (after, secs) = (host.cpu_secs()?, started.elapsed().as_secs_f64());
    report.add(&format!("{name}: payload"), "GB/s", bytes / secs);
    for (side, (after, before)) in ["daemon", "receiver"].into_iter().zip(after.into_iter().zip(before)) {
        report.add(&format!("{name}: processor time of the {side}"), "s/GB", (after - before) / bytes);
    }
    Ok(())
}

/// How long a small fetch takes.
pub(crate) async fn latency(host: &Host, context: &Context, time: Duration, report: &mut Report) -> Result<()> {
    let client = host.client(TransportChoice::Quic).await?;
    fetch(&client, context).await?;
    let (started, mut millis) = (Instant::now(), Vec::new());
    while started.elapsed() < time {
        let asked = Instant::now();
        fetch(&client, context).await?;
        millis.push(asked.elapsed().as_secs_f64() * 1e3);
    }
    millis.sort_unstable_by(f64::total_cmp);
    let name = format!("segment: {} of {} bytes", context.segments, context.payload_bytes);
    report.add_percentiles(&name, "ms", &millis);
    Ok(())
}

/// KV per second when the receiver decodes while it receives.
pub(crate) async fn decoded(host: &Host, context: &Context, time: Duration, report: &mut Report) -> Result<()> {
    let client = host.client(TransportChoice::Quic).await?;
    let (started, mut fetches) = (Instant::now(), 0);
    while started.elapsed() < time {
        client.fetch_kv(&context.request, |_| ()).await?;
        fetches += 1;
    }
    let gb = (fetches * context.kv_bytes) as f64 / 1e9;
    report.add("decoded: KV at q3", "GB/s", gb / started.elapsed().as_secs_f64());
    Ok(())
}

/// Fetches a context; gives the bytes that came.
async fn fetch(client: &Client, context: &Context) -> Result<f64> {
    Ok(client.fetch(&context.request, |_| Ok(())).await?.payload_bytes as f64)
}
