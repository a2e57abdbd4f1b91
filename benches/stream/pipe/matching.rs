//! `Match` of a long context.

use std::time::{Duration, Instant};

use anyhow::Result;
use kvdepot_client::TransportChoice;
use kvdepot_codec::{Dtype, Geometry, Level};

use crate::context::Shape;
use crate::host::Host;
use crate::report::Report;

/// Tokens that are asked about; all are stored.
const NUM_TOKENS: usize = 128_000;

/// How long one call takes.
pub(crate) async fn measure(host: &Host, time: Duration, report: &mut Report) -> Result<()> {
    let shape = Shape::of(Geometry::new(1, 1, 32, Dtype::Bf16)?, NUM_TOKENS, Level::Q0);
    host.put(&shape).await?;
    let client = host.client(TransportChoice::Quic).await?;
    let (scope, tokens) = (shape.scope(), shape.tokens());
    let (started, mut millis) = (Instant::now(), Vec::new());
    while started.elapsed() < time {
        let asked = Instant::now();
        let found = client.matches(&scope, &tokens).await?;
        millis.push(asked.elapsed().as_secs_f64() * 1e3);
        anyhow::ensure!(found.matched_tokens == NUM_TOKENS, "{} tokens matched", found.matched_tokens);
    }
    report.add_percentiles("match: 128,000 tokens", "ms", &mut millis);
    Ok(())
}
