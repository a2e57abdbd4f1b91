//! Shared contexts, addressed by their tokens.

use std::sync::Arc;

use kvdepot_proto::v1;
use kvdepot_proto::v1::depot_server;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::transfer;
use crate::blocking::blocking;
use crate::depot::Depot;
use crate::wire;

/// The `Depot` service.
pub(crate) struct DepotService {
    depot: Arc<Depot>,
}

impl DepotService {
    pub(crate) fn new(depot: Arc<Depot>) -> Self {
        Self { depot }
    }
}

#[tonic::async_trait]
impl depot_server::Depot for DepotService {
    type GetStream = ReceiverStream<Result<v1::GetResponse, Status>>;

    async fn r#match(&self, request: Request<v1::MatchRequest>) -> Result<Response<v1::MatchResponse>, Status> {
        let (scope, tokens, lease) = wire::match_request(request.into_inner())?;
        let depot = Arc::clone(&self.depot);
        let response = blocking(move || {
            let prefix = depot.match_counted(&scope, &tokens)?;
            let response = wire::match_response(&prefix, depot.chunk_tokens());
            let lease_ms = u32::try_from(depot.keep_leased(prefix, lease).as_millis()).unwrap_or(u32::MAX);
            Ok(v1::MatchResponse { lease_ms, ..response })
        });
        Ok(Response::new(response.await?))
    }

    async fn stat(&self, request: Request<v1::StatRequest>) -> Result<Response<v1::StatResponse>, Status> {
        let ids = wire::chunk_ids(&request.get_ref().chunk_ids)?;
        Ok(Response::new(wire::stat_response(&ids, &self.depot.stat(&ids))))
    }

    async fn put(&self, request: Request<Streaming<v1::PutRequest>>) -> Result<Response<v1::PutAck>, Status> {
        let committed = transfer::put(&self.depot, request.into_inner()).await?;
        Ok(Response::new(committed.into()))
    }

    async fn get(&self, request: Request<v1::FetchRequest>) -> Result<Response<Self::GetStream>, Status> {
        let asked = wire::FetchAsked::try_from(request.into_inner())?;
        let depot = Arc::clone(&self.depot);
        let outgoing = blocking(move || depot.fetch(asked.target, asked.skip_chunks)).await?;
        Ok(Response::new(ReceiverStream::new(transfer::get(outgoing, asked.share))))
    }

    async fn delete(&self, request: Request<v1::DeleteRequest>) -> Result<Response<v1::DeleteResponse>, Status> {
        let request = request.into_inner();
        let ids = wire::chunk_ids(&request.chunk_ids)?;
        let extent = wire::extent(request.extent)?;
        let depot = Arc::clone(&self.depot);
        let deleted = blocking(move || depot.delete(&ids, extent)).await?;
        tracing::info!(chunks = deleted.chunks, bytes = deleted.bytes, "deleted");
        Ok(Response::new(deleted.into()))
    }
}
