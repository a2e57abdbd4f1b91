//! 64 receivers of one context at once, beside 1,000 that only keep their connection.

use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use kvdepot_client::{FetchRequest, TransportChoice};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::host::{Context, Host};
use crate::report::Report;

const BUSY: usize = 64;
const IDLE: usize = 1_000;

/// When the busy receivers end, and what the daemon holds meanwhile.
pub(crate) async fn measure(host: &Host, context: &Context, report: &mut Report) -> Result<()> {
    let miss = FetchRequest { skip_chunks: u32::MAX, ..context.request.clone() };
    let mut idle = Vec::new();
    for _ in 0..IDLE {
        let client = host.client(TransportChoice::Quic).await?;
        client.fetch(&miss, |_| Ok(())).await?;
        idle.push(client);
    }
    report.add("many: memory with 1,000 idle receivers", "MiB", host.memory_mib("VmRSS")?);
    let begin = Arc::new(Barrier::new(BUSY));
    let mut fetches = JoinSet::new();
    for _ in 0..BUSY {
        let client = host.client(TransportChoice::Quic).await?;
        let (request, begin) = (context.request.clone(), Arc::clone(&begin));
        fetches.spawn(async move {
            begin.wait().await;
            let started = Instant::now();
            client.fetch(&request, |_| Ok(())).await?;
            anyhow::Ok(started.elapsed().as_secs_f64())
        });
    }
    let mut secs = fetches.join_all().await.into_iter().collect::<Result<Vec<_>>>()?;
    report.add("many: peak memory with 64 busy ones besides", "MiB", host.memory_mib("VmHWM")?);
    report.add_percentiles("many: end of a busy receiver", "s", &mut secs);
    let (first, last) = (secs.first().copied().unwrap_or(0.0), secs.last().copied().unwrap_or(0.0));
    report.add("many: last end / first end", "", last / first);
    report.add("many: payload of all", "GB/s", (BUSY * context.payload_bytes) as f64 / 1e9 / last);
    Ok(())
}
