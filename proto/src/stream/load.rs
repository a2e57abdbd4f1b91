//! What has come of a chunk, as the controller looks at it.

use kvdepot_codec::Geometry;

use crate::ChunkEntry;

/// A chunk on its way.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChunkLoad {
    /// Tokens in it.
    pub num_tokens: u32,
    /// Bytes of its KV, decoded.
    pub kv_bytes: u64,
    /// Bytes of each quality layer.
    pub quality_bytes: Vec<u64>,
    /// How many of those have come.
    pub arrived_bytes: Vec<u64>,
    /// Leading quality layers that are decoded.
    pub decoded: u8,
}

impl ChunkLoad {
    /// A chunk of the manifest, of which nothing has come.
    pub fn new(geometry: &Geometry, entry: &ChunkEntry) -> Self {
        let mut quality_bytes = Vec::new();
        for segment in &entry.content.segments {
            let quality = usize::from(segment.key.quality);
            quality_bytes.resize(quality_bytes.len().max(quality.saturating_add(1)), 0);
            if let Some(bytes) = quality_bytes.get_mut(quality) {
                *bytes = u64::saturating_add(*bytes, segment.segment_bytes);
            }
        }
        Self {
            num_tokens: entry.num_tokens,
            kv_bytes: geometry.kv_bytes(entry.num_tokens as usize) as u64,
            arrived_bytes: vec![0; quality_bytes.len()],
            quality_bytes,
            decoded: 0,
        }
    }

    /// Counts bytes of a quality layer as come.
    pub fn arrive(&mut self, quality: u8, bytes: u64) {
        if let Some(arrived) = self.arrived_bytes.get_mut(usize::from(quality)) {
            *arrived = arrived.saturating_add(bytes);
        }
    }

    /// Quality layers that the chunk has.
    pub fn qualities(&self) -> u8 {
        u8::try_from(self.quality_bytes.len()).unwrap_or(u8::MAX)
    }

    /// Leading quality layers that have come whole.
    pub fn arrived(&self) -> u8 {
        let layers = self.quality_bytes.iter().zip(&self.arrived_bytes);
        u8::try_from(layers.take_while(|(all, arrived)| arrived >= all).count()).unwrap_or(u8::MAX)
    }

    /// Bytes that have not come of the first `qualities` quality layers.
    pub fn missing_bytes(&self, qualities: u8) -> u64 {
        let layers = self.quality_bytes.iter().zip(&self.arrived_bytes).take(qualities.into());
        layers.fold(0, |sum, (all, arrived)| sum.saturating_add(all.saturating_sub(*arrived)))
    }

    /// Whether its first `qualities` quality layers have come and are decoded.
    pub fn is_ready(&self, qualities: u8) -> bool {
        self.decoded >= qualities.min(self.qualities())
    }
}
