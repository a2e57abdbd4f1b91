//! When how many bytes have come over a link.

use std::time::{Duration, Instant};

use kvdepot_client::{Client, FetchEvent, FetchRequest};

use super::trace::Trace;

/// What a link gives over time.
pub(super) enum Curve {
    /// As bytes came, from the request: when, and how many by then.
    Measured(Vec<(Duration, u64)>),
    /// As the trace says.
    Nominal(Trace),
}

impl Curve {
    /// Fetches, and notes what comes.
    pub(super) async fn measure(client: &Client, request: &FetchRequest) -> anyhow::Result<Self> {
        let (started, mut points, mut sum) = (Instant::now(), Vec::new(), 0);
        let fetch = client.fetch(request, |event| {
            if let FetchEvent::Segment(segment) = event {
                sum += segment.bytes.len() as u64;
                points.push((started.elapsed(), sum));
            }
            Ok(())
        });
        fetch.await?;
        Ok(Self::Measured(points))
    }

    /// Seconds until so many bytes have come.
    pub(super) fn secs(&self, bytes: u64) -> f64 {
        match self {
            Self::Measured(points) => {
                let idx = points.partition_point(|(_, come)| *come < bytes);
                points.get(idx).map_or(f64::INFINITY, |(at, _)| at.as_secs_f64())
            }
            Self::Nominal(trace) => trace.transfer_secs(bytes),
        }
    }
}
