//! KV with the statistics of a model's: channels differ in scale and mean, neighbouring tokens resemble each other.

use std::path::Path;

use half::{bf16, f16};
use kvdepot_client::EncodedChunk;
use kvdepot_codec::{Dtype, EncodeOptions, Geometry, KvChunk, Level, Origin, Rope, Side, dump, dump::KvDump, encode};
use kvdepot_proto::KvSpec;
use rand::{Rng, SeedableRng, rngs::StdRng};

/// Tokens of the chunks that a context is made in.
const CHUNK_TOKENS: usize = 256;

/// KV of a seeded random context.
#[derive(Debug, Clone)]
pub struct KvSource {
    /// Shape of the KV.
    pub geometry: Geometry,
    /// What it is drawn from: equal seeds give equal tokens, and equal KV of equal tokens.
    pub seed: u64,
}

impl KvSource {
    /// KV of a small model: 4 layers of 2 heads of 64.
    ///
    /// # Errors
    /// None that the limits of a geometry allow.
    pub fn small(dtype: Dtype, seed: u64) -> anyhow::Result<Self> {
        Ok(Self { geometry: Geometry::new(4, 2, 64, dtype)?, seed })
    }

    /// Token ids of the context.
    pub fn tokens(&self, num_tokens: usize) -> Vec<u32> {
        let mut rng = StdRng::seed_from_u64(self.seed);
        (0..num_tokens).map(|_| rng.random_range(0..32_000)).collect()
    }

    /// KV of the context, in chunks.
    ///
    /// # Errors
    /// For no tokens.
    pub fn chunks(&self, num_tokens: usize) -> anyhow::Result<Vec<KvChunk>> {
        let starts = (0..num_tokens.max(1)).step_by(CHUNK_TOKENS);
        let mut chunks = starts
            .map(|start| KvChunk::zeroed(self.geometry, CHUNK_TOKENS.min(num_tokens.saturating_sub(start))))
            .collect::<Result<Vec<_>, _>>()?;
        for layer in 0..self.geometry.num_layers() {
            for side in Side::BOTH {
                self.fill(layer, side, &mut chunks);
            }
        }
        Ok(chunks)
    }

    /// KV of the context, in chunks, encoded.
    ///
    /// # Errors
    /// For no tokens.
    pub fn encoded(&self, num_tokens: usize, level: Level) -> anyhow::Result<Vec<EncodedChunk>> {
        let rope = Rope::try_from(&spec_of(self.geometry).rope)?;
        let encode_at = |(chunk, start): (&KvChunk, u64)| {
            let segments = encode(chunk, &EncodeOptions::new(level).at(rope, start))?;
            Ok(EncodedChunk { level, segments })
        };
        self.chunks(num_tokens)?.iter().zip((0..).step_by(CHUNK_TOKENS)).map(encode_at).collect()
    }

    /// Writes the context as a KV dump with the metadata that `kvdepot put` reads.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn write_dump(&self, path: &Path, num_tokens: usize) -> anyhow::Result<()> {
        let spec = spec_of(self.geometry);
        let tokens: Vec<_> = self.tokens(num_tokens).iter().map(u32::to_string).collect();
        let metadata = [("tokens", tokens.join(",")), ("kv_spec", spec.to_json())];
        let mut origin = Origin::new(&Rope::try_from(&spec.rope)?, 0);
        origin.metadata.extend(metadata.map(|(name, value)| (name.to_owned(), value)));
        Ok(dump::write(path, &self.chunks(num_tokens)?, &origin)?)
    }

    /// Fills one side of one layer: each channel is a first-order autoregression over the tokens.
    fn fill(&self, layer: usize, side: Side, chunks: &mut [KvChunk]) {
        let plane_seed = self.seed.wrapping_mul(4096).wrapping_add((2 * layer + side as usize) as u64);
        let mut rng = StdRng::seed_from_u64(plane_seed);
        let correlation: f32 = if side == Side::K { 0.38 } else { 0.15 };
        let innovation = (1.0 - correlation * correlation).sqrt();
        let mut channels: Vec<_> = (0..self.geometry.channels()).map(|_| Channel::draw(&mut rng)).collect();
        let element_bytes = self.geometry.dtype().bytes();
        for chunk in chunks {
            for token in chunk.plane_mut(layer, side).chunks_exact_mut(channels.len() * element_bytes) {
                for (channel, element) in channels.iter_mut().zip(token.chunks_exact_mut(element_bytes)) {
                    channel.deviation = correlation * channel.deviation + innovation * gaussian(&mut rng);
                    store(self.geometry.dtype(), channel.mean + channel.scale * channel.deviation, element);
                }
            }
        }
    }
}

/// The identity of KV of a made-up model with this geometry.
pub fn spec_of(geometry: Geometry) -> KvSpec {
    KvSpec {
        model: "test-model".to_owned(),
        weights_digest: [0x5a; 32],
        tokenizer_digest: None,
        adapter: String::new(),
        geometry,
        rope: (&Rope::plain(10_000.0)).into(),
        sliding_window: None,
    }
}

/// Whether two KV dumps hold the same KV, bit for bit, with the same metadata.
///
/// # Errors
/// When one of them is not a KV dump.
pub fn same_dump(ours: &Path, theirs: &Path) -> anyhow::Result<bool> {
    let (ours, theirs) = (std::fs::read(ours)?, std::fs::read(theirs)?);
    let (ours, theirs) = (KvDump::parse(&ours)?, KvDump::parse(&theirs)?);
    let num_tokens = ours.num_tokens();
    Ok(ours.origin() == theirs.origin() && ours.chunk(0, num_tokens)? == theirs.chunk(0, theirs.num_tokens())?)
}

/// One channel of one side of one layer.
struct Channel {
    mean: f32,
    scale: f32,
    deviation: f32,
}

impl Channel {
    fn draw(rng: &mut StdRng) -> Self {
        let scale = gaussian(rng).exp();
        Self { mean: scale * gaussian(rng), scale, deviation: gaussian(rng) }
    }
}

/// A standard normal deviate (Box and Muller).
fn gaussian(rng: &mut StdRng) -> f32 {
    let radius = (-2.0 * (1.0 - rng.random::<f32>()).ln()).sqrt();
    radius * (std::f32::consts::TAU * rng.random::<f32>()).cos()
}

fn store(dtype: Dtype, value: f32, element: &mut [u8]) {
    match dtype {
        Dtype::Bf16 => element.copy_from_slice(&bf16::from_f32(value).to_le_bytes()),
        Dtype::F16 => element.copy_from_slice(&f16::from_f32(value).to_le_bytes()),
        Dtype::F32 => element.copy_from_slice(&value.to_le_bytes()),
    }
}
