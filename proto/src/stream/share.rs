//! Which segments of the answer to a fetch are sent, and in which order.

use super::{FetchSender, Held, SendOrder, Wants};
use crate::{Error, Manifest, Result, v1};

/// The share of a context that a fetch asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    order: SendOrder,
    wants: Wants,
    held: Held,
}

impl Share {
    /// What there is to send of a manifest.
    pub fn of(self, manifest: &Manifest) -> FetchSender {
        FetchSender::new(self.order, &manifest.contents(), self.wants).without(self.held.of(&manifest.chunks))
    }
}

impl TryFrom<&v1::FetchRequest> for Share {
    type Error = Error;

    fn try_from(request: &v1::FetchRequest) -> Result<Self> {
        Ok(Self {
            order: SendOrder::try_from(request.order)?,
            wants: Wants::from_message(request.first_chunk, request.max_qualities)?,
            held: Held::try_from(request.held.as_slice())?,
        })
    }
}
