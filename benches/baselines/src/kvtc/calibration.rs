//! What KVTC learns of a model: means, bases, and which error each way of storing components makes.

use std::ops::RangeInclusive;

use kvdepot_codec::{Error, Geometry, KvChunk, Result, Side};
use nalgebra::DMatrix;

use super::groups::Group;
use super::pca::Pca;
use super::{Kvtc, Transform, allocation, features};
use crate::rope::Rope;

/// Fewest tokens that a calibration makes sense on.
const MIN_CALIBRATION_TOKENS: usize = 8;
/// Fewest and most tokens that calibrating is worth its time on.
const USEFUL_TOKENS: RangeInclusive<usize> = 256..=16_384;
/// Most of them where a token has more than [`MANY_FEATURES`]: the cost grows with the cube of the smaller number.
const MAX_TOKENS_OF_MANY_FEATURES: usize = 512;
const MANY_FEATURES: usize = 4096;

/// How KVTC is calibrated.
#[derive(Debug, Clone)]
pub struct KvtcOptions {
    /// Most principal components of a side.
    pub max_components: usize,
    /// RoPE's frequencies in radians per position, `head_dim / 2` of them; element `i` is paired with `i + head_dim / 2`.
    pub inverse_frequencies: Vec<f64>,
}

impl KvtcOptions {
    /// Options for keys that were turned by `rope`, with at most 1024 components.
    pub fn new(rope: &kvdepot_codec::Rope, head_dim: usize) -> Self {
        let inverse_frequencies = rope.frequencies(head_dim).into_iter().map(f64::from).collect();
        Self { max_components: 1024, inverse_frequencies }
    }
}

/// Principal components of calibration tokens, from which coders of any ratio are made.
#[derive(Debug)]
pub struct KvtcCalibration {
    geometry: Geometry,
    rope: Rope,
    /// K and V.
    sides: [SideCalibration; 2],
}

/// The basis of one side, and calibration tokens that it was not fitted on.
#[derive(Debug)]
struct SideCalibration {
    pca: Pca,
    held_out: DMatrix<f32>,
}

impl KvtcCalibration {
    /// How many tokens to calibrate on: with fewer a basis is poor, and with more it takes too long.
    pub fn useful_tokens(geometry: &Geometry) -> RangeInclusive<usize> {
        let features = geometry.num_layers() * geometry.channels();
        let most = if features > MANY_FEATURES { MAX_TOKENS_OF_MANY_FEATURES } else { *USEFUL_TOKENS.end() };
        *USEFUL_TOKENS.start()..=most
    }

    /// Calibrates on chunks of one geometry, each with the position of its first token.
    ///
    /// The first tokens of a context are passed over: coders leave them as they are.
    ///
    /// # Errors
    /// `Invalid` when there are fewer than 8 tokens, geometries differ, or an element is not finite.
    pub fn fit(calibration: &[(u64, KvChunk)], options: &KvtcOptions) -> Result<Self> {
        let num_tokens: usize =
            calibration.iter().map(|(start, chunk)| features::coded_tokens(*start, chunk).len()).sum();
        let Some(geometry) = calibration.first().map(|(_, chunk)| *chunk.geometry()) else {
            return Err(Error::Invalid("a calibration on no chunk".to_owned()));
        };
        if num_tokens < MIN_CALIBRATION_TOKENS || calibration.iter().any(|(_, chunk)| *chunk.geometry() != geometry) {
            return Err(Error::Invalid(format!("a calibration on {num_tokens} tokens, or of different geometries")));
        }
        let rope = Rope::new(options.inverse_frequencies.clone());
        let fit = |side| SideCalibration::fit(calibration, &rope, side, options.max_components);
        let sides = [fit(Side::K)?, fit(Side::V)?];
        Ok(Self { geometry, rope, sides })
    }

    /// Coders at the two ratios that are compared: 8 and 16.
    pub fn coders(&self) -> [Kvtc; 2] {
        [8.0, 16.0].map(|target_ratio| self.coder(target_ratio))
    }

    /// A coder whose quantized components take `target_ratio` times fewer bits than the elements in 16 bits, before
    /// deflation and without the tokens that stay as they are.
    pub fn coder(&self, target_ratio: f64) -> Kvtc {
        let transforms = self.sides.each_ref().map(|side| side.transform(target_ratio));
        Kvtc { geometry: self.geometry, target_ratio, rope: self.rope.clone(), transforms }
    }
}

impl SideCalibration {
    /// The basis comes from the first three quarters of the tokens; the rest is for choosing runs.
    fn fit(chunks: &[(u64, KvChunk)], rope: &Rope, side: Side, max_components: usize) -> Result<Self> {
        let features = features::gather_all(chunks, rope, side)?;
        let num_fitted = features.ncols() * 3 / 4;
        let pca = Pca::fit(features.columns(0, num_fitted).into_owned(), max_components);
        let held_out = pca.project(&features.columns(num_fitted, features.ncols() - num_fitted).into_owned());
        Ok(Self { pca, held_out })
    }

    fn transform(&self, target_ratio: f64) -> Transform {
        let budget_bits = (16.0 * self.pca.num_features() as f64 / target_ratio.max(1.0)) as usize;
        let groups = allocation::allocate(&self.held_out, budget_bits);
        Transform { pca: self.pca.truncated(groups.last().map_or(0, Group::end)), groups }
    }
}
