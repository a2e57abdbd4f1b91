//! Symbols of several tiles at once.

use super::Isa;
use super::isa::Kind;
use crate::Result;
use crate::model::Model;
use crate::rows::{BLOCK_CHANNELS, TileRows};
use crate::tile::rans::Decoder;

/// Most tiles that are coded in lockstep: enough to hide the latency of a coder's chain of dependent steps.
pub(crate) const TILES: usize = 2;

/// The models of a block of channels; those without one have no coded symbols.
pub(crate) type BlockModels = [Option<&'static Model>; BLOCK_CHANNELS];

/// Decodes the next block of channels of up to [`TILES`] tiles into block `block` of their rows. Rows of channels without
/// a model are left as they are.
///
/// Tiles, models and rows are of equal number; `rows` have equally many channels and tokens.
pub(crate) fn decode_block(
    isa: Isa,
    tiles: &mut [Decoder<'_>],
    models: &[BlockModels],
    rows: &mut [TileRows],
    block: usize,
) -> Result<()> {
    for (tile, models) in tiles.iter().zip(models) {
        if models.iter().any(Option::is_some) {
            tile.check_states()?;
        }
    }
    match isa.kind() {
        Kind::Scalar => decode_scalar(tiles, models, rows, block),
        #[cfg(target_arch = "x86_64")]
        Kind::Avx2 => super::avx2::decode_block(tiles, models, rows, block),
        #[cfg(target_arch = "x86_64")]
        Kind::Avx512 => super::avx512::decode_block(tiles, models, rows, block),
    }
}

fn decode_scalar(tiles: &mut [Decoder<'_>], models: &[BlockModels], rows: &mut [TileRows], block: usize) -> Result<()> {
    for ((tile, models), rows) in tiles.iter_mut().zip(models).zip(rows) {
        for (channel, model) in models.iter().enumerate() {
            if let Some(model) = model {
                rows.channel_mut(block * BLOCK_CHANNELS + channel).try_for_each(|row| tile.row(model, row))?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;
    use crate::cursor::Cursor;
    use crate::model::{ESCAPE, model_set};
    use crate::simd::encode_tiles;

    const CHANNELS: usize = 2 * BLOCK_CHANNELS;

    /// A channel without a model now and then, and otherwise any.
    fn models(rng: &mut StdRng) -> Vec<Option<&'static Model>> {
        let all: Vec<_> = model_set().values.iter().chain(&model_set().exponents).collect();
        (0..CHANNELS).map(|_| (rng.random_range(0..9) > 0).then(|| all[rng.random_range(0..all.len())])).collect()
    }

    /// Symbols as a model expects them, or any that it has; and in some channels only escapes, which make all coders put out
    /// words in the same rows.
    fn symbols(models: &[Option<&Model>], num_tokens: usize, rng: &mut StdRng) -> TileRows {
        let mut rows = TileRows::zeroed(CHANNELS, num_tokens);
        for (channel, model) in models.iter().enumerate() {
            let Some(model) = model else { continue };
            let only_escapes = rng.random_range(0..4) == 0;
            for symbol in rows.channel_mut(channel).flatten() {
                *symbol = match rng.random_range(0..4) {
                    _ if only_escapes => ESCAPE,
                    0 => rng.random_range(0..model.len()),
                    _ => model.symbol(rng.random()),
                };
            }
        }
        rows
    }

    fn assert_coded_alike(num_tokens: usize, num_tiles: usize, seed: u64) {
        let mut rng = StdRng::seed_from_u64(seed);
        let models: Vec<_> = (0..num_tiles).map(|_| models(&mut rng)).collect();
        let rows: Vec<_> = models.iter().map(|models| symbols(models, num_tokens, &mut rng)).collect();
        let encode = |isa| -> Vec<(Vec<u32>, Vec<u16>)> {
            let encoders = encode_tiles(isa, &models, &rows.iter().collect::<Vec<_>>());
            encoders.iter().map(|encoder| (encoder.states().collect(), encoder.words().to_vec())).collect()
        };
        let encoded = encode(Isa::SCALAR);
        let bytes: Vec<Vec<u8>> = encoded
            .iter()
            .map(|(states, words)| {
                let states = states.iter().flat_map(|state| state.to_le_bytes());
                states.chain(words.iter().flat_map(|word| word.to_le_bytes())).collect()
            })
            .collect();
        for isa in Isa::available() {
            assert!(encode(isa) == encoded, "{isa}, {num_tokens} tokens, {num_tiles} tiles");
            let mut decoders: Vec<_> = bytes
                .iter()
                .zip(&encoded)
                .map(|(bytes, (_, words))| {
                    Decoder::parse(&mut Cursor::new(bytes, 0), true, num_tokens, words.len()).unwrap()
                })
                .collect();
            let mut decoded: Vec<_> = rows.iter().map(|_| TileRows::zeroed(CHANNELS, num_tokens)).collect();
            for block in 0..CHANNELS / BLOCK_CHANNELS {
                let models: Vec<BlockModels> =
                    models.iter().map(|models| *models.as_chunks().0.get(block).unwrap()).collect();
                decode_block(isa, &mut decoders, &models, &mut decoded, block).unwrap();
            }
            for (decoded, rows) in decoded.iter().zip(&rows) {
                let alike = |channel| decoded.channel(channel).eq(rows.channel(channel));
                assert!((0..CHANNELS).all(alike), "{isa}, {num_tokens} tokens, {num_tiles} tiles");
            }
            decoders.into_iter().for_each(|decoder| decoder.finish().unwrap());
        }
    }

    #[test]
    fn all_instruction_sets_code_alike_under_every_model() {
        for (seed, num_tokens) in (0..).zip([256, 300, 32, 100, 31, 1]) {
            for num_tiles in 1..=TILES {
                assert_coded_alike(num_tokens, num_tiles, seed);
            }
        }
    }
}
