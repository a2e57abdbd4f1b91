//! Other codecs of KV as schemes.

use kvdepot_baselines::{Baseline, Int8, LmCache, ZstdSymbols};
use kvdepot_codec::KvChunk;

use super::scheme::{Coded, Kind, Scheme};

/// Those that need no calibration.
pub(super) fn uncalibrated() -> Vec<Box<dyn Scheme>> {
    vec![Box::new(Other(LmCache)), Box::new(Other(ZstdSymbols { compression: 9 })), Box::new(Other(Int8))]
}

/// A baseline that takes chunks.
struct Other<B>(B);

impl<B: Baseline + Sync> Scheme for Other<B> {
    fn name(&self) -> String {
        self.0.name()
    }

    fn family(&self) -> String {
        self.0.name()
    }

    fn kind(&self) -> Kind {
        Kind::Baseline
    }

    fn is_lossless(&self) -> bool {
        false
    }

    fn code(&self, context: &[KvChunk]) -> anyhow::Result<Coded> {
        Coded::each(context, |chunk, first_position| {
            let bytes = self.0.encode(chunk, first_position)?;
            let mut decoded = KvChunk::zeroed(*chunk.geometry(), chunk.num_tokens())?;
            self.0.decode(&bytes, &mut decoded)?;
            Ok((bytes.len() as u64, decoded))
        })
    }
}
