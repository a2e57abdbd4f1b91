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

#[cfg(test)]
mod tests {
    use kvdepot_codec::{Dtype, Geometry, Level, SegmentKey, Side};

    use super::*;
    use crate::{ChunkContent, ChunkEntry, ChunkId, KvSpec, Rope, SegmentEntry};

    const K: SegmentKey = SegmentKey { quality: 0, layer_group: 0, side: Side::K };
    const V: SegmentKey = SegmentKey { side: Side::V, ..K };

    /// Two chunks of two segments, which put `instance` stored.
    fn manifest(instance: u64) -> Manifest {
        let segments = [K, V].map(|key| SegmentEntry { key, segment_bytes: 9 }).to_vec();
        let chunk = |idx: u8| ChunkEntry {
            id: ChunkId::new([idx; 32]),
            start_token: idx.into(),
            num_tokens: 1,
            content: ChunkContent { level: Level::Q0, segments: segments.clone() },
            instance,
        };
        let spec = KvSpec {
            model: "tiny".to_owned(),
            weights_digest: [7; 32],
            tokenizer_digest: None,
            adapter: String::new(),
            geometry: Geometry::new(1, 1, 8, Dtype::Bf16).unwrap(),
            rope: Rope { kind: "default".to_owned(), theta: 10_000.0, parameters: Vec::new() },
            sliding_window: None,
        };
        Manifest { spec, tokens: vec![5, 6], chunks: vec![chunk(0), chunk(1)] }
    }

    fn begun() -> Fetching {
        let request = v1::FetchRequest { tokens: vec![5, 6, 7], ..v1::FetchRequest::default() };
        let mut fetching = Fetching::new(request, Wants::default());
        assert!(fetching.begin(manifest(1)).unwrap().is_first);
        fetching
    }

    #[test]
    fn the_next_connection_is_asked_for_what_was_not_handed_over() {
        let mut fetching = begun();
        fetching.hand_over(SegmentRef { chunk_idx: 1, key: V });
        fetching.adjust(Wants::new(1, 2));
        let request = fetching.request(8);
        assert_eq!((request.tokens, request.chunk_id), (Vec::new(), vec![1; 32]), "by its last chunk");
        assert_eq!((request.transfer_id, request.first_chunk, request.max_qualities), (8, 1, 2));
        assert_eq!(request.held, [v1::HeldChunk { chunk_idx: 1, instance: 1, segments: vec![0b10] }]);
        let Begun { due, is_first, .. } = fetching.begin(manifest(1)).unwrap();
        assert!(!is_first);
        assert_eq!(due.wanted().collect::<Vec<_>>(), [(SegmentRef { chunk_idx: 1, key: K }, 9)]);
        fetching.hand_over(SegmentRef { chunk_idx: 1, key: K });
        assert!(fetching.is_complete());
    }

    #[test]
    fn what_was_put_again_meanwhile_is_not_taken_for_the_same() {
        assert_eq!(begun().begin(manifest(2)).unwrap_err().kind(), ErrorKind::NotFound);
    }
}
