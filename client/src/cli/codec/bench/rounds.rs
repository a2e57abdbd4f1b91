//! Rounds in which every codec takes its turn, so that a busy moment of the machine hits all alike.

use std::{hint::black_box, time::Duration};

use indicatif::ProgressBar;
use kvdepot_client::Result;
use kvdepot_codec::Side;

use super::{
    clock::{Spent, median},
    coder::{Coder, Encoded},
    memory::peak_of,
    work::WorkSet,
};

/// A codec, what it made of a work set, and how long it took.
pub(super) struct Subject {
    pub(super) coder: Coder,
    /// What every chunk became.
    encoded: Vec<Encoded>,
    pub(super) measured: Measured,
    encode: Vec<Spent>,
    decode: Vec<Spent>,
}

/// What is measured once.
pub(super) struct Measured {
    /// Bytes of the distinct chunks, plain and encoded.
    pub(super) plain_bytes: usize,
    pub(super) encoded_bytes: usize,
    pub(super) metadata_bytes: Option<usize>,
    /// Relative error of K and of V.
    pub(super) errors: [f64; 2],
    /// Memory of the first chunk's encoding beyond it and what it became.
    pub(super) encode_memory_bytes: usize,
    /// Memory of the first chunk's decoding beyond both.
    pub(super) decode_memory_bytes: usize,
}

impl Subject {
    /// Encodes and decodes once: what is timed later has its input at hand, and its output has been looked at.
    pub(super) fn prepare(coder: Coder, set: &mut WorkSet) -> Result<Self> {
        let (first, peak) = peak_of(|| coder.encode(&set.chunks[0], set.first_positions[0]));
        let encode_memory_bytes = peak.saturating_sub(encoded_bytes(&first?));
        let distinct = set.chunks.iter().zip(&set.first_positions).take(set.num_distinct);
        let mut encoded =
            distinct.map(|(chunk, position)| Ok(coder.encode(chunk, *position)?)).collect::<Result<Vec<_>>>()?;
        let (outcome, decode_memory_bytes) = peak_of(|| coder.decode(&encoded[0], &mut set.targets[0]));
        outcome?;
        for (pieces, target) in encoded.iter().zip(&mut set.targets) {
            coder.decode(pieces, target)?;
        }
        let metadata_bytes: Vec<Option<usize>> =
            encoded.iter().map(|pieces| coder.metadata_bytes(pieces)).collect::<kvdepot_codec::Result<_>>()?;
        let measured = Measured {
            plain_bytes: set.chunks.iter().take(set.num_distinct).map(|chunk| chunk.bytes().len()).sum(),
            encoded_bytes: encoded.iter().map(encoded_bytes).sum(),
            metadata_bytes: metadata_bytes.into_iter().sum(),
            errors: Side::BOTH.map(|side| set.relative_error(side)),
            encode_memory_bytes,
            decode_memory_bytes,
        };
        let repeats = set.chunks.len() / set.num_distinct;
        encoded.reserve_exact(set.chunks.len() - set.num_distinct);
        (1..repeats).for_each(|_| encoded.extend_from_within(..set.num_distinct));
        Ok(Self { coder, encoded, measured, encode: Vec::new(), decode: Vec::new() })
    }

    fn time(&mut self, set: &mut WorkSet) -> Result<()> {
        let chunks = set.chunks.iter().zip(&set.first_positions);
        let encode = || {
            chunks
                .map(|(chunk, position)| self.coder.encode(chunk, *position))
                .try_for_each(|encoded| black_box(encoded).map(drop))
        };
        let (outcome, spent) = Spent::on(encode);
        outcome?;
        self.encode.push(spent);
        let mut decodes = self.encoded.iter().zip(&mut set.targets);
        let (outcome, spent) = Spent::on(|| decodes.try_for_each(|(pieces, target)| self.coder.decode(pieces, target)));
        outcome?;
        self.decode.push(spent);
        Ok(())
    }

    /// Medians of encoding and of decoding.
    pub(super) fn medians(&self) -> (Duration, Duration) {
        (median(&self.encode), median(&self.decode))
    }

    /// All that was timed.
    pub(super) fn spent(&self) -> impl Iterator<Item = &Spent> {
        self.encode.iter().chain(&self.decode)
    }
}

fn encoded_bytes(encoded: &Encoded) -> usize {
    encoded.iter().flatten().map(Vec::len).sum()
}

/// Runs all rounds; gives how long memcpy of the first set took in each.
pub(super) fn run_rounds(
    num_rounds: u32,
    sets: &mut [(&mut WorkSet, &mut [Subject])],
    bar: &ProgressBar,
) -> Result<Vec<Spent>> {
    let steps: usize = sets.iter().map(|(_, subjects)| subjects.len()).sum::<usize>() + 1;
    bar.set_length(u64::from(num_rounds) * steps as u64);
    let mut copies: Vec<Vec<u8>> = sets[0].0.chunks.iter().map(|chunk| chunk.bytes().to_vec()).collect();
    let mut memcpy = Vec::new();
    for _ in 0..num_rounds {
        bar.set_message("memcpy");
        memcpy.push(time_memcpy(sets[0].0, &mut copies));
        bar.inc(1);
        for (set, subjects) in sets.iter_mut() {
            for subject in subjects.iter_mut() {
                bar.set_message(subject.coder.name());
                subject.time(set)?;
                bar.inc(1);
            }
        }
    }
    Ok(memcpy)
}

fn time_memcpy(set: &WorkSet, copies: &mut [Vec<u8>]) -> Spent {
    let copy_all = || {
        for (copy, chunk) in copies.iter_mut().zip(&set.chunks) {
            black_box(copy).copy_from_slice(black_box(chunk.bytes()));
        }
    };
    Spent::on(copy_all).1
}
