//! What operators look at.

use std::sync::Arc;
use std::time::Instant;

use kvdepot_proto::v1;
use kvdepot_proto::v1::admin_server::Admin;
use tonic::{Request, Response, Status};

use crate::blocking::blocking;
use crate::depot::Depot;
use crate::wire;

/// What a daemon says about itself.
pub(crate) struct Identification {
    /// When it started.
    pub(crate) started: Instant,
    /// Where its data plane listens.
    pub(crate) quic_address: String,
    /// The certificate that both planes show, in DER.
    pub(crate) certificate_der: Vec<u8>,
    /// Where its local plane listens.
    pub(crate) local_plane: v1::LocalPlane,
}

/// The `Admin` service.
pub(crate) struct AdminService {
    depot: Arc<Depot>,
    identification: Identification,
}

impl AdminService {
    pub(crate) fn new(depot: Arc<Depot>, identification: Identification) -> Self {
        Self { depot, identification }
    }
}

#[tonic::async_trait]
impl Admin for AdminService {
    async fn usage(&self, _: Request<v1::UsageRequest>) -> Result<Response<v1::UsageResponse>, Status> {
        let usage = self.depot.usage();
        let uptime_ms = self.identification.started.elapsed().as_millis();
        Ok(Response::new(v1::UsageResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_ms: u64::try_from(uptime_ms).unwrap_or(u64::MAX),
            chunks: usage.chunks,
            contexts: usage.contexts,
            stored_bytes: usage.stored_bytes,
            quota_bytes: usage.quota_bytes.unwrap_or(0),
            chunk_tokens: self.depot.chunk_tokens(),
            quic_address: self.identification.quic_address.clone(),
            quic_certificate: self.identification.certificate_der.clone(),
            matches: usage.matches,
            asked_tokens: usage.asked_tokens,
            matched_tokens: usage.matched_tokens,
            evicted_chunks: usage.evicted_chunks,
            quarantined_chunks: usage.quarantined_chunks,
            local_plane: Some(self.identification.local_plane.clone()),
            segment_reads: usage.segment_reads,
            cached_bytes: usage.cached_bytes,
        }))
    }

    async fn list(&self, request: Request<v1::ListRequest>) -> Result<Response<v1::ListResponse>, Status> {
        let (after, limit) = wire::list_request(request.get_ref())?;
        let depot = Arc::clone(&self.depot);
        let page = blocking(move || depot.list(after, limit)).await?;
        Ok(Response::new(page.into()))
    }

    async fn inspect(&self, request: Request<v1::InspectRequest>) -> Result<Response<v1::InspectResponse>, Status> {
        let prefix = wire::id_prefix(request.get_ref())?;
        let depot = Arc::clone(&self.depot);
        let inspection = blocking(move || depot.inspect(prefix)).await?;
        Ok(Response::new(inspection.into()))
    }
}
