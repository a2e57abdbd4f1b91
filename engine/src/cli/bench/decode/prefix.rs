//! The shared prefix: drawn, or computed.

use kvdepot_codec::{Dtype, KvChunk, Side};
use kvdepot_engine::{Prefix, Runner};

use super::super::super::progress;
use super::super::random;

/// Tokens of one drawn chunk, which is put in as often as needed: equal values take their own memory.
const CHUNK_TOKENS: usize = 256;

/// A prefix of drawn tokens and drawn KV.
pub(super) fn drawn(runner: &Runner, num_tokens: usize) -> anyhow::Result<Prefix> {
    let tokens = tokens(runner, num_tokens);
    let mut prefix = Prefix::default();
    for tokens in tokens.chunks(CHUNK_TOKENS) {
        runner.append(&mut prefix, tokens, &chunk(runner, tokens.len())?)?;
    }
    Ok(prefix)
}

/// A prefix of drawn tokens and their own KV.
pub(super) fn computed(runner: &Runner, num_tokens: usize) -> anyhow::Result<Prefix> {
    let bar = progress::tokens("prefix", num_tokens);
    let mut prefix = Prefix::default();
    runner
        .prefill(&mut prefix, &tokens(runner, num_tokens), |prefix| bar.set_position(prefix.tokens().len() as u64))?;
    bar.finish_and_clear();
    Ok(prefix)
}

fn tokens(runner: &Runner, count: usize) -> Vec<u32> {
    random::tokens(0, count, runner.model().config().vocab_size)
}

fn chunk(runner: &Runner, num_tokens: usize) -> anyhow::Result<KvChunk> {
    let geometry = runner.geometry();
    let mut chunk = KvChunk::zeroed(geometry, num_tokens)?;
    for layer in 0..geometry.num_layers() {
        for side in Side::BOTH {
            let bytes = chunk.plane_mut(layer, side).chunks_exact_mut(geometry.dtype().bytes());
            bytes.zip(random::bf16(layer as u64)).for_each(|(bytes, bits)| write(geometry.dtype(), bytes, bits));
        }
    }
    Ok(chunk)
}

/// Writes a bf16 as an element of `dtype`, which is one that the engine computes in.
fn write(dtype: Dtype, bytes: &mut [u8], bits: u16) {
    match dtype {
        Dtype::F32 => bytes.copy_from_slice(&(u32::from(bits) << 16).to_le_bytes()),
        Dtype::F16 | Dtype::Bf16 => bytes.copy_from_slice(&bits.to_le_bytes()),
    }
}
