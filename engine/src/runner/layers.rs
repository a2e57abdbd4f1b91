//! The first tokens after a prefix whose KV is still coming, layer by layer.

use kvdepot_codec::KvChunk;

use super::{Logits, Prefix, Runner, Sharing, step_alone};
use crate::kv::Sequence;
use crate::model::{Span, WantedLogits};
use crate::rows::Rows;
use crate::sample::check_logits;
use crate::{Error, Result};

/// A prefix's KV on its way.
pub trait LayerFeed {
    /// Why a layer does not come; the engine's own errors among it.
    type Error: From<Error>;

    /// Waits until one layer is there; asked for each layer once, in ascending order.
    ///
    /// Gives chunks in order from position 0, which together hold the prefix: their planes of `layer` are looked at, and no others.
    ///
    /// # Errors
    /// When it will not come.
    fn layer(&mut self, layer: usize) -> Result<&[KvChunk], Self::Error>;
}

impl Runner {
    /// Brings `tokens` into pages as `feed` gives their KV, and computes `suffix` after them meanwhile: each layer of its first
    /// step, of at most [`Settings::step_tokens`](super::Settings::step_tokens) tokens, as soon as that layer has come. Gives
    /// both as one prefix, and the logits after its last token.
    ///
    /// All of it is the same, bit for bit, as after [`Self::import`] and [`Self::prefill`].
    ///
    /// # Errors
    /// Those of the feed; `Invalid` without a suffix, for chunks of another shape or number of tokens, and as in
    /// [`Self::prefill`]; `Busy` when the pool has no room; `Corrupt` when logits are not numbers. No pages are kept then.
    pub fn continue_layerwise<F: LayerFeed>(
        &self,
        tokens: &[u32],
        suffix: &[u32],
        feed: &mut F,
    ) -> Result<(Prefix, Logits), F::Error> {
        let mut sequence = self.room_for(tokens, suffix)?;
        let (first, rest) = suffix.split_at(suffix.len().min(self.settings.step_tokens.max(1)));
        let mut rows = self.step_layerwise(&mut sequence, first, feed)?;
        for piece in rest.chunks(self.settings.step_tokens.max(1)) {
            rows = step_alone(&self.model, &mut sequence, piece, WantedLogits::Last);
        }
        check_logits(rows.row(0))?;
        Ok((Prefix { tokens: [tokens, suffix].concat(), sequence }, Logits::new(rows)))
    }

    /// A sequence that counts `tokens` as held, though nothing of them is written, with room for `suffix`.
    fn room_for(&self, tokens: &[u32], suffix: &[u32]) -> Result<Sequence> {
        let context = tokens.len() + suffix.len();
        if suffix.is_empty() {
            return Err(Error::Invalid("no tokens to compute after the prefix".to_owned()));
        }
        self.check_tokens(tokens, context)?;
        self.check_tokens(suffix, context)?;
        let mut sequence = Sequence::default();
        sequence.reserve(&self.pool, context)?;
        sequence.commit(tokens.len());
        Ok(sequence)
    }

    fn step_layerwise<F: LayerFeed>(
        &self,
        sequence: &mut Sequence,
        tokens: &[u32],
        feed: &mut F,
    ) -> Result<Rows, F::Error> {
        let (held, layout) = (sequence.num_tokens(), self.pool.layout());
        let span = Span { tokens, sequence, logits: WantedLogits::Last };
        self.model.step_with(&mut [span], Sharing::On, |layer, spans| {
            let chunks = feed.layer(layer)?;
            spans.iter_mut().try_for_each(|span| span.sequence.import_layer(layout, layer, held, chunks))?;
            Ok(())
        })
    }
}
