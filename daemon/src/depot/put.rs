//! Storing contexts: announce, stage what is missing, commit everything by one write.

use std::ops::Range;
use std::sync::Arc;

use kvdepot_proto::{
    Announce, Assembly, ChunkContent, ChunkId, ChunkRef, Error, ErrorKind, Fingerprint, ReceivedSegment, Result, chain,
};
use tokio::sync::OwnedSemaphorePermit;

use super::claims::{Lease, Reservation};
use super::recovery::facts;
use super::{Depot, LOCAL_TENANT, MAX_PUTS};
use crate::store::{ChunkRow, Commit};
use crate::verify::{Coverage, Expected};

/// A put in progress. Nothing of it is visible; dropping it removes what it staged.
pub(crate) struct StagedPut {
    depot: Arc<Depot>,
    announce: Announce,
    fingerprint: Fingerprint,
    chunks: Vec<ChunkRef>,
    first_missing: usize,
    instance: u64,
    due: Assembly,
    /// Of the missing chunks, in order.
    coverage: Vec<Coverage>,
    committed: bool,
    _lease: Lease,
    _reservation: Reservation,
    _slot: OwnedSemaphorePermit,
}

/// What a put came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Committed {
    /// Every chunk of the context, in chain order.
    pub(crate) chunk_ids: Vec<ChunkId>,
    /// Chunks that were not stored before.
    pub(crate) new_chunks: u32,
    /// Bytes of those.
    pub(crate) new_bytes: u64,
}

impl Depot {
    /// Cuts the context into chunks, reserves room for those that are missing, and makes ready to stage them.
    ///
    /// # Errors
    /// `Invalid` when the contents do not fit the tokens, `Busy` when there is no room or too many puts are in
    /// progress, with nothing changed.
    pub(crate) fn announce(self: &Arc<Self>, announce: Announce) -> Result<StagedPut> {
        let slot = Arc::clone(&self.put_slots).try_acquire_owned().map_err(|_| {
            Error::new(ErrorKind::Busy, format!("{MAX_PUTS} puts are in progress, the most there may be"))
        })?;
        let chunks = self.cut(&announce)?;
        let ids: Vec<ChunkId> = chunks.iter().map(|chunk| chunk.id).collect();
        let mut next_instance = self.writer_turn();
        let lease = Lease::take(&self.index, |_| ids);
        let mut index = self.index.lock();
        index.touch(lease.ids(), (self.clock)());
        let first_missing = chunks.iter().take_while(|chunk| index.contains(&chunk.id)).count();
        drop(index);
        let missing = announce.contents.get(first_missing..).unwrap_or_default();
        let reservation =
            self.make_room(missing.iter().map(ChunkContent::stored_bytes).fold(0, u64::saturating_add))?;
        let instance = *next_instance;
        *next_instance += 1;
        if !missing.is_empty() {
            self.store.begin_staging(instance, lease.ids().get(first_missing..).unwrap_or_default())?;
        }
        Ok(StagedPut {
            depot: Arc::clone(self),
            fingerprint: announce.scope.spec.fingerprint(),
            due: Assembly::new((0u32..).zip(&announce.contents).skip(first_missing)),
            coverage: missing.iter().map(|_| Coverage::default()).collect(),
            announce,
            chunks,
            first_missing,
            instance,
            committed: false,
            _lease: lease,
            _reservation: reservation,
            _slot: slot,
        })
    }

    fn cut(&self, announce: &Announce) -> Result<Vec<ChunkRef>> {
        let key = announce.scope.key(LOCAL_TENANT);
        let chunks: Vec<_> = chain(&key, &announce.tokens, self.chunk_tokens as usize).collect();
        let (tokens, contents) = (announce.tokens.len(), announce.contents.len());
        if chunks.is_empty() || chunks.len() != contents {
            return Err(Error::invalid(format!(
                "contents of {contents} chunks, expected {} for {tokens} tokens in chunks of {}",
                chunks.len(),
                self.chunk_tokens
            )));
        }
        Ok(chunks)
    }

    fn make_room(&self, bytes: u64) -> Result<Reservation> {
        self.leases.expire((self.clock)());
        if bytes > 0 {
            self.store.check_room(bytes.saturating_add(self.index.lock().reserved_bytes()))?;
        }
        let (reservation, evicted) = Reservation::take(&self.index, bytes)?;
        self.drop_evicted(evicted)?;
        Ok(reservation)
    }
}

impl StagedPut {
    /// Indices of the chunks whose segments are to be staged.
    pub(crate) fn missing(&self) -> Range<usize> {
        self.first_missing..self.chunks.len()
    }

    /// Content of every chunk announced.
    pub(crate) fn contents(&self) -> &[ChunkContent] {
        &self.announce.contents
    }

    /// Whether every segment of the missing chunks is staged.
    pub(crate) fn is_complete(&self) -> bool {
        self.due.is_complete()
    }

    /// Verifies a segment and writes it where nobody looks yet.
    ///
    /// # Errors
    /// `Invalid` when it is not one that is due, `Corrupt` when its checksum does not hold, `Busy` for a full disk.
    pub(crate) fn stage(&mut self, segment: &ReceivedSegment) -> Result<()> {
        let (chunk_idx, key) = (segment.chunk_idx, segment.key);
        self.due.begin(chunk_idx, key, segment.bytes.len() as u64)?;
        let layers = self.expected(chunk_idx as usize).and_then(|(chunk, expected)| {
            let layers = expected.verify(key, &segment.bytes)?;
            self.depot.store.stage(&chunk.id, self.instance, key, &segment.bytes)?;
            Ok(layers)
        });
        let layers = layers
            .map_err(|error| Error::new(error.kind(), format!("segment {key:?} of chunk {chunk_idx}: {error}")))?;
        if let Some(coverage) =
            (chunk_idx as usize).checked_sub(self.first_missing).and_then(|i| self.coverage.get_mut(i))
        {
            coverage.add(key, layers);
        }
        self.due.finish();
        Ok(())
    }

    /// Makes every chunk of the context visible, by one write. Chunks that another put committed meanwhile stay as
    /// they are.
    ///
    /// # Errors
    /// `Invalid` when segments or layers are missing, `Busy` for a full disk, `Unavailable` when a chunk that the
    /// context continues has been quarantined meanwhile. Nothing is visible then.
    pub(crate) fn commit(mut self) -> Result<Committed> {
        self.check_complete()?;
        let depot = Arc::clone(&self.depot);
        let _turn = depot.writer_turn();
        let staged = self.chunks.get(self.first_missing..).unwrap_or_default();
        let index = depot.index.lock();
        let duplicates = staged.iter().take_while(|chunk| index.contains(&chunk.id)).count();
        let continued = self.chunks.get(..self.first_missing + duplicates).unwrap_or_default();
        if let Some(gone) = continued.iter().find(|chunk| !index.contains(&chunk.id)) {
            let message =
                format!("chunk {}, which the context continues, was quarantined meanwhile: put again", gone.id);
            return Err(Error::new(ErrorKind::Unavailable, message));
        }
        drop(index);
        let visible = self.rows(self.first_missing + duplicates);
        let duplicate: Vec<_> = staged.iter().take(duplicates).map(|chunk| chunk.id).collect();
        let spec = &self.announce.scope.spec;
        depot.store.commit(&Commit { instance: self.instance, visible: &visible, duplicate: &duplicate, spec })?;
        self.committed = true;
        depot.specs().insert(self.fingerprint, spec.clone());
        let mut index = depot.index.lock();
        visible.iter().try_for_each(|(id, row)| index.insert(facts(*id, row, None)))?;
        Ok(Committed {
            chunk_ids: self.chunks.iter().map(|chunk| chunk.id).collect(),
            new_chunks: u32::try_from(visible.len()).unwrap_or(u32::MAX),
            new_bytes: visible.iter().map(|(_, row)| row.content.stored_bytes()).sum(),
        })
    }

    fn check_complete(&self) -> Result<()> {
        if !self.is_complete() {
            return Err(Error::invalid(format!("put ended with {} segments missing", self.due.outstanding())));
        }
        let num_layers = self.announce.scope.spec.geometry.num_layers();
        let missing = self.announce.contents.iter().enumerate().skip(self.first_missing);
        for ((chunk_idx, content), coverage) in missing.zip(&self.coverage) {
            let covered = coverage.check(content.level, num_layers);
            covered.map_err(|error| Error::invalid(format!("chunk {chunk_idx}: {error}")))?;
        }
        Ok(())
    }

    fn expected(&self, chunk_idx: usize) -> Result<(&ChunkRef, Expected)> {
        let announced = self.chunks.get(chunk_idx).zip(self.announce.contents.get(chunk_idx));
        let (chunk, content) = announced.ok_or_else(|| Error::invalid("not announced"))?;
        let num_tokens = u32::try_from(chunk.num_tokens).unwrap_or(u32::MAX);
        let geometry = self.announce.scope.spec.geometry;
        Ok((chunk, Expected { geometry, num_tokens, level: content.level }))
    }

    fn rows(&self, from_chunk: usize) -> Vec<(ChunkId, ChunkRow)> {
        let created = (self.depot.clock)();
        let row = |(chunk, content): (&ChunkRef, &ChunkContent)| {
            let end_token = chunk.start_token + chunk.num_tokens;
            let row = ChunkRow {
                parent: chunk.parent,
                start_token: u32::try_from(chunk.start_token).unwrap_or(u32::MAX),
                tokens: self.announce.tokens.get(chunk.start_token..end_token).unwrap_or_default().to_vec(),
                fingerprint: self.fingerprint,
                namespace: self.announce.scope.namespace.clone(),
                content: content.clone(),
                instance: self.instance,
                created,
            };
            (chunk.id, row)
        };
        self.chunks.iter().zip(&self.announce.contents).skip(from_chunk).map(row).collect()
    }
}

impl Drop for StagedPut {
    fn drop(&mut self) {
        if self.committed || self.missing().is_empty() {
            return;
        }
        let staged: Vec<_> = self.chunks.iter().skip(self.first_missing).map(|chunk| chunk.id).collect();
        if let Err(error) = self.depot.store.abort(self.instance, &staged) {
            tracing::warn!(%error, instance = self.instance, "staged segments stay until the next start");
        }
    }
}
