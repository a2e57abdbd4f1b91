//! The connection to one depot, and what it knows about tokens.

use std::sync::Arc;
use std::time::Duration;

use kvdepot_proto::{ChunkEntry, Scope, check_tokens, limits, v1};

use crate::{ConnectOptions, Result, Usage, control::Control, data_plane::DataPlane};

/// Connection to one depot. Clones are cheap and share it.
#[derive(Clone)]
pub struct Client {
    pub(crate) control: Control,
    pub(crate) data_plane: Arc<DataPlane>,
}

/// How much of a token sequence is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Match {
    /// Leading tokens whose KV is stored.
    pub matched_tokens: usize,
    /// The chunks that hold them, in chain order.
    pub chunks: Vec<ChunkEntry>,
    /// Tokens per chunk in this depot.
    pub chunk_tokens: usize,
    /// Why nothing, or not everything, matched; `None` on a hit.
    pub miss_reason: Option<String>,
    /// For how long the chunks are kept from eviction: not at all unless that was asked for, and granted.
    pub lease: Duration,
}

impl Client {
    /// Connects the control plane. The data plane is connected by the first transfer.
    ///
    /// # Errors
    /// `Invalid` for a URL or certificate that is not usable, `Unavailable` when no depot answers.
    pub async fn connect(options: &ConnectOptions) -> Result<Self> {
        let control = Control::connect(options).await?;
        let data_plane = Arc::new(DataPlane::new(control.clone(), options));
        Ok(Self { control, data_plane })
    }

    /// How full the depot is, and where it listens.
    ///
    /// # Errors
    /// `Unavailable` when the depot does not answer.
    pub async fn usage(&self) -> Result<Usage> {
        Usage::ask(&self.control).await
    }

    /// Tokens per chunk in this depot, at least 1; it is asked for them at most once.
    ///
    /// # Errors
    /// `Unavailable` when the depot does not answer.
    pub async fn chunk_tokens(&self) -> Result<usize> {
        Ok(self.data_plane.known().await?.chunk_tokens.max(1))
    }

    /// Finds the longest stored prefix of `tokens` in one round trip.
    ///
    /// # Errors
    /// `Invalid` for more tokens than any context may have; as every call, `Unavailable` and the depot's own refusals.
    pub async fn matches(&self, scope: &Scope, tokens: &[u32]) -> Result<Match> {
        self.matches_leased(scope, tokens, Duration::ZERO).await
    }

    /// As [`Self::matches`], and has what is found kept from eviction for a while, since it is going to be fetched: for
    /// [`Match::lease`], which is no longer than [`limits::MAX_LEASE`].
    ///
    /// # Errors
    /// As [`Self::matches`].
    pub async fn matches_leased(&self, scope: &Scope, tokens: &[u32], lease: Duration) -> Result<Match> {
        check_tokens(tokens)?;
        let lease_ms = u32::try_from(lease.min(limits::MAX_LEASE).as_millis()).unwrap_or(u32::MAX);
        let request = v1::MatchRequest { scope: Some(scope.into()), tokens: tokens.to_vec(), lease_ms };
        let mut depot = self.control.depot();
        self.control.answer(depot.r#match(request)).await?.try_into()
    }

    /// Ends idle connections of the data plane and tells the depot so.
    pub async fn close(&self) {
        self.data_plane.close().await;
    }
}

impl TryFrom<v1::MatchResponse> for Match {
    type Error = crate::Error;

    fn try_from(message: v1::MatchResponse) -> Result<Self> {
        Ok(Self {
            matched_tokens: message.matched_tokens as usize,
            chunks: message.chunks.into_iter().map(ChunkEntry::try_from).collect::<Result<_>>()?,
            chunk_tokens: message.chunk_tokens as usize,
            miss_reason: Some(message.miss_reason).filter(|reason| !reason.is_empty()),
            lease: Duration::from_millis(message.lease_ms.into()),
        })
    }
}
