//! The control plane: one gRPC channel, with a deadline on every step.

use std::{sync::Arc, time::Duration};

use kvdepot_proto::{
    limits,
    v1::{admin_client::AdminClient, depot_client::DepotClient},
};
use tonic::{Response, Status, transport::Channel};

use crate::{ConnectOptions, Error, ErrorKind, Result, connect};

/// The control plane of one depot.
#[derive(Clone)]
pub(crate) struct Control {
    channel: Channel,
    url: Arc<str>,
    timeout: Duration,
}

impl Control {
    pub(crate) async fn connect(options: &ConnectOptions) -> Result<Self> {
        let channel = connect::channel(options).await?;
        Ok(Self { channel, url: options.url.as_str().into(), timeout: options.timeout })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    pub(crate) fn depot(&self) -> DepotClient<Channel> {
        DepotClient::new(self.channel.clone())
            .max_decoding_message_size(limits::MAX_MESSAGE_BYTES)
            .max_encoding_message_size(limits::MAX_MESSAGE_BYTES)
    }

    pub(crate) fn admin(&self) -> AdminClient<Channel> {
        AdminClient::new(self.channel.clone()).max_decoding_message_size(limits::MAX_MESSAGE_BYTES)
    }

    /// Awaits one call's answer within the timeout.
    pub(crate) async fn answer<T>(
        &self,
        call: impl Future<Output = std::result::Result<Response<T>, Status>>,
    ) -> Result<T> {
        let response = self.within("an answer", async { call.await.map_err(|status| self.failure(status)) }).await?;
        Ok(response.into_inner())
    }

    /// Awaits one step within the timeout; `what` did not come is what the error says.
    pub(crate) async fn within<T>(&self, what: &str, step: impl Future<Output = Result<T>>) -> Result<T> {
        within(self.timeout, what, step).await
    }

    /// The error that a status stands for: the depot's own words, or that the connection broke.
    pub(crate) fn failure(&self, status: Status) -> Error {
        match std::error::Error::source(&status) {
            Some(source) if status.code() != tonic::Code::Cancelled || status.message().is_empty() => {
                connect::unreachable(&self.url, &connect::root_cause(source))
            }
            _ => status.into(),
        }
    }
}

/// Awaits `step` for at most `limit`.
pub(crate) async fn within<T>(limit: Duration, what: &str, step: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(limit, step).await.unwrap_or_else(|_| {
        Err(Error::new(
            ErrorKind::Unavailable,
            format!("waited {limit:?} for {what} of the depot; try again, or pass a longer --timeout"),
        ))
    })
}
