//! KVTC: transform coding with a calibrated basis.
//!
//! Keys have RoPE undone. A token's keys over all layers and heads are one vector, its values another; each is
//! projected on the principal components of calibration tokens. Runs of components share a type (dropped, 2, 4 or 8
//! bits, bf16) and, per token, a 16-bit shift and scale where the type needs them; runs and types are the ones of
//! least error within a budget of bits, by dynamic programming. What comes out is deflated. The first 4 and the last
//! 128 tokens of a context stay as they are, and are counted. Means, bases and runs belong to the model and are not.
//!
//! The paper's sizes of runs are kept; errors that the runs are chosen by are measured on calibration tokens that the
//! basis was not fitted on. A small model pays more for shifts and scales, relative to its bits, than a large one.
//! Source: Staniszewski and Lancucki, "KV Cache Transform Coding for Compact Storage in LLM Inference" (2511.01815).

mod allocation;
mod calibration;
mod features;
mod groups;
mod pca;

use std::io::{Read, Write};
use std::ops::Range;

use flate2::{Compression, read::DeflateDecoder, write::DeflateEncoder};
use kvdepot_codec::{Error, Geometry, KvChunk, Result, Side};
use nalgebra::DMatrix;

use crate::reader::Reader;
use crate::rope::Rope;
use crate::{Baseline, Unit};
pub use calibration::{KvtcCalibration, KvtcOptions};
use groups::Group;
use pca::Pca;

/// First tokens of a context that stay as they are.
const SINK_TOKENS: usize = 4;
/// Last tokens of a context that stay as they are.
const WINDOW_TOKENS: usize = 128;

/// KVTC, calibrated.
#[derive(Debug)]
pub struct Kvtc {
    geometry: Geometry,
    target_ratio: f64,
    rope: Rope,
    /// K and V.
    transforms: [Transform; 2],
}

/// Basis and runs of one side.
#[derive(Debug)]
struct Transform {
    pca: Pca,
    groups: Vec<Group>,
}

impl Kvtc {
    /// Principal components that are coded, of K and of V.
    pub fn num_components(&self) -> [usize; 2] {
        self.transforms.each_ref().map(|transform| transform.pca.num_components())
    }

    /// Tokens between those that stay as they are.
    fn middle(num_tokens: usize) -> Range<usize> {
        let start = SINK_TOKENS.min(num_tokens);
        start..num_tokens.saturating_sub(WINDOW_TOKENS).max(start)
    }

    fn check(&self, chunk: &KvChunk) -> Result<()> {
        if *chunk.geometry() == self.geometry {
            return Ok(());
        }
        Err(Error::Invalid(format!("{:?} where the calibration had {:?}", chunk.geometry(), self.geometry)))
    }
}

impl Transform {
    fn encode(&self, features: &DMatrix<f32>, bytes: &mut Vec<u8>) {
        let components = self.pca.project(features);
        self.groups.iter().for_each(|group| group.encode(&components, bytes));
    }

    /// Features of `num_tokens` tokens.
    fn decode(&self, reader: &mut Reader<'_>, num_tokens: usize) -> Result<DMatrix<f32>> {
        let mut components = DMatrix::zeros(num_tokens, self.pca.num_components());
        self.groups.iter().try_for_each(|group| group.decode(reader, &mut components))?;
        Ok(self.pca.reconstruct(&components))
    }

    fn encoded_bytes(&self, num_tokens: usize) -> usize {
        self.groups.iter().map(|group| group.encoded_bytes(num_tokens)).sum()
    }
}

impl Baseline for Kvtc {
    fn name(&self) -> String {
        format!("kvtc-{}x", self.target_ratio)
    }

    fn unit(&self) -> Unit {
        Unit::Context
    }

    fn encode(&self, chunk: &KvChunk, first_position: u64) -> Result<Vec<u8>> {
        self.check(chunk)?;
        let middle = Self::middle(chunk.num_tokens());
        let mut plain = Vec::new();
        for (side, transform) in Side::BOTH.into_iter().zip(&self.transforms) {
            let features = features::gather(chunk, middle.clone(), first_position, &self.rope, side)?;
            transform.encode(&features, &mut plain);
        }
        let mut bytes = first_position.to_le_bytes().to_vec();
        for tokens in [0..middle.start, middle.end..chunk.num_tokens()] {
            features::each_plane(&self.geometry, |layer, side| {
                let plane = chunk.plane(layer, side);
                bytes.extend_from_slice(
                    &plane[self.geometry.plane_bytes(tokens.start)..self.geometry.plane_bytes(tokens.end)],
                );
                Ok(())
            })?;
        }
        deflate(&plain, bytes)
    }

    fn decode(&self, bytes: &[u8], into: &mut KvChunk) -> Result<()> {
        self.check(into)?;
        let middle = Self::middle(into.num_tokens());
        let mut reader = Reader::new(bytes);
        let first_position = reader.u64("first position")?;
        for tokens in [0..middle.start, middle.end..into.num_tokens()] {
            features::each_plane(&self.geometry, |layer, side| {
                let range = self.geometry.plane_bytes(tokens.start)..self.geometry.plane_bytes(tokens.end);
                let raw = reader.take(range.len(), "tokens as they are")?;
                into.plane_mut(layer, side)[range].copy_from_slice(raw);
                Ok(())
            })?;
        }
        let plain_bytes = self.transforms.iter().map(|transform| transform.encoded_bytes(middle.len())).sum();
        let plain = inflate(&mut reader, plain_bytes)?;
        let mut components = Reader::new(&plain);
        for (side, transform) in Side::BOTH.into_iter().zip(&self.transforms) {
            let features = transform.decode(&mut components, middle.len())?;
            features::scatter(features, into, middle.clone(), first_position, &self.rope, side);
        }
        components.finish()
    }
}

/// Appends the deflated bytes.
fn deflate(plain: &[u8], bytes: Vec<u8>) -> Result<Vec<u8>> {
    let failed = |error| Error::Invalid(format!("deflate: {error}"));
    let mut encoder = DeflateEncoder::new(bytes, Compression::default());
    encoder.write_all(plain).map_err(failed)?;
    encoder.finish().map_err(failed)
}

/// Inflates all that is left, which must give `plain_bytes` bytes; no more is ever held.
fn inflate(reader: &mut Reader<'_>, plain_bytes: usize) -> Result<Vec<u8>> {
    let mut plain = Vec::new();
    let refuse = reader.clone();
    let mut limited = DeflateDecoder::new(reader.take_rest()).take(plain_bytes as u64 + 1);
    limited.read_to_end(&mut plain).map_err(|error| refuse.corrupt(format!("deflate: {error}")))?;
    if plain.len() != plain_bytes {
        return Err(refuse.corrupt(format!("components do not inflate to {plain_bytes} bytes")));
    }
    Ok(plain)
}
