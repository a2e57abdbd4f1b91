//! Other codecs of KV as schemes.

use kvdepot_baselines::{Baseline, Int8, KvtcCalibration, KvtcOptions, LmCache, Unit, ZstdSymbols};
use kvdepot_codec::{KvChunk, Side};
use kvdepot_engine::{Prefix, Runner};

use super::calibration::Calibration;
use super::scheme::{Coded, Kind, Scheme};

/// All of them, KVTC calibrated.
pub(super) fn calibrated(runner: &Runner, calibration: &Calibration) -> anyhow::Result<Vec<Box<dyn Scheme>>> {
    let mut schemes: Vec<Box<dyn Scheme>> =
        vec![Box::new(Other(LmCache)), Box::new(Other(ZstdSymbols { compression: 9 })), Box::new(Other(Int8))];
    let coders = calibrate(runner, calibration)?.coders();
    schemes.extend(coders.into_iter().map(|coder| Box::new(Other(coder)) as Box<dyn Scheme>));
    Ok(schemes)
}

fn calibrate(runner: &Runner, calibration: &Calibration) -> anyhow::Result<KvtcCalibration> {
    let kv = |context: &Vec<u32>| {
        let mut prefix = Prefix::default();
        runner.prefill(&mut prefix, context, |_| {})?;
        Ok((0, runner.export(&prefix, 0..context.len())?))
    };
    let chunks: Vec<_> = calibration.contexts().iter().map(kv).collect::<anyhow::Result<_>>()?;
    let options = KvtcOptions::new(&runner.model().config().rope, runner.geometry().head_dim());
    Ok(KvtcCalibration::fit(&chunks, &options)?)
}

/// A baseline.
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
        match self.0.unit() {
            Unit::Chunk => Coded::each(context, |chunk, first_position| self.code_chunk(chunk, first_position)),
            Unit::Context => {
                Coded::each(&[joined(context)?], |chunk, first_position| self.code_chunk(chunk, first_position))
            }
        }
    }
}

impl<B: Baseline> Other<B> {
    fn code_chunk(&self, chunk: &KvChunk, first_position: u64) -> anyhow::Result<(u64, KvChunk)> {
        let bytes = self.0.encode(chunk, first_position)?;
        let mut decoded = KvChunk::zeroed(*chunk.geometry(), chunk.num_tokens())?;
        self.0.decode(&bytes, &mut decoded)?;
        Ok((bytes.len() as u64, decoded))
    }
}

/// Consecutive chunks as one.
fn joined(chunks: &[KvChunk]) -> anyhow::Result<KvChunk> {
    let [first, ..] = chunks else { anyhow::bail!("a context without chunks") };
    let geometry = *first.geometry();
    let mut whole = KvChunk::zeroed(geometry, chunks.iter().map(KvChunk::num_tokens).sum())?;
    for (layer, side) in (0..geometry.num_layers()).flat_map(|layer| Side::BOTH.map(|side| (layer, side))) {
        let plane: Vec<u8> = chunks.iter().flat_map(|chunk| chunk.plane(layer, side)).copied().collect();
        whole.plane_mut(layer, side).copy_from_slice(&plane);
    }
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use kvdepot_codec::{Dtype, Geometry};

    use super::*;

    #[test]
    fn joined_chunks_hold_their_tokens_in_order() {
        let geometry = Geometry::new(2, 1, 2, Dtype::F32).unwrap();
        let chunk = |num_tokens: usize, byte: u8| {
            KvChunk::from_bytes(geometry, num_tokens, vec![byte; geometry.kv_bytes(num_tokens)]).unwrap()
        };
        let whole = joined(&[chunk(2, 1), chunk(1, 2)]).unwrap();
        assert_eq!(whole.num_tokens(), 3);
        for layer in 0..2 {
            for side in Side::BOTH {
                assert_eq!(whole.plane(layer, side), [[1; 8], [1; 8], [2; 8]].concat());
            }
        }
    }
}
