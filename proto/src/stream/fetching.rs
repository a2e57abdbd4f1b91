//! A fetch over as many connections as it takes: what was promised, what has been handed over, and what to ask for next.

use std::sync::Arc;

use super::{FetchReceiver, Held, SegmentRef, Wants};
use crate::{Error, ErrorKind, Manifest, Result, v1};

/// The receiver's side of a fetch, whatever its connections do: `STREAM.md`, "Resume".
#[derive(Debug)]
pub struct Fetching {
    request: v1::FetchRequest,
    manifest: Option<Arc<Manifest>>,
    held: Held,
    wants: Wants,
}

/// What a connection of a fetch begins with.
#[derive(Debug)]
pub struct Begun {
    /// What the fetch consists of.
    pub manifest: Arc<Manifest>,
    /// What is left to receive of it.
    pub due: FetchReceiver,
    /// Whether the manifest is new.
    pub is_first: bool,
}

impl Fetching {
    /// A fetch of what `request` names, in its order; what is wanted of it is `wants`.
    pub fn new(request: v1::FetchRequest, wants: Wants) -> Self {
        Self { request, manifest: None, held: Held::default(), wants }
    }

    /// What to ask for on the next connection: after the first manifest, for what is missing of it.
    pub fn request(&self, transfer_id: u64) -> v1::FetchRequest {
        let mut request = v1::FetchRequest {
            transfer_id,
            first_chunk: self.wants.first_chunk(),
            max_qualities: self.wants.max_qualities().into(),
            held: (&self.held).into(),
            ..self.request.clone()
        };
        if let Some(last) = self.manifest.as_ref().and_then(|manifest| manifest.chunks.last()) {
            request.tokens.clear();
            request.chunk_id = last.id.into();
        }
        request
    }

    /// Takes the manifest that a connection begins with.
    ///
    /// # Errors
    /// `NotFound` when it is not the same as the first one.
    pub fn begin(&mut self, manifest: Manifest) -> Result<Begun> {
        let is_first = self.manifest.is_none();
        let known = self.manifest.get_or_insert_with(|| Arc::new(manifest.clone()));
        if **known != manifest {
            let message = "what the depot stores changed while the fetch was interrupted: what came stays good, \
                           fetch the rest anew";
            return Err(Error::new(ErrorKind::NotFound, message));
        }
        let manifest = Arc::clone(known);
        let due = self.due(&manifest);
        Ok(Begun { manifest, due, is_first })
    }

    /// Takes note that a segment was handed over: it is not asked for again.
    pub fn hand_over(&mut self, segment: SegmentRef) {
        if let Some(manifest) = &self.manifest {
            self.held.insert(&manifest.chunks, segment);
        }
    }

    /// Takes wants back.
    pub fn adjust(&mut self, wants: Wants) {
        self.wants.adjust(wants.first_chunk(), wants.max_qualities());
    }

    /// Whether all that is wanted has been handed over.
    pub fn is_complete(&self) -> bool {
        self.manifest.as_ref().is_some_and(|manifest| self.due(manifest).is_complete())
    }

    fn due(&self, manifest: &Manifest) -> FetchReceiver {
        FetchReceiver::new(&manifest.contents(), self.wants, &self.held)
    }
}
