//! Symbols of several tiles at once.

use super::Isa;
use super::isa::Kind;
use crate::Result;
use crate::model::{ESCAPE, Model};
use crate::rows::{BLOCK_CHANNELS, TileRows};
use crate::tile::rans::Decoder;

/// Most tiles that are coded in lockstep: enough to hide the latency of a coder's chain of dependent steps.
pub(crate) const TILES: usize = 2;

/// How the symbols of a channel decode.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ChannelModel {
    pub(crate) model: &'static Model,
    /// Added to each symbol, modulo 2^8: what comes of it is the value, where that has no raw bits.
    pub(crate) bias: u8,
}

/// The models of a block of channels; those without one have no coded symbols.
pub(crate) type BlockModels = [Option<ChannelModel>; BLOCK_CHANNELS];

/// The channels of a block that have escapes: bit `c` is that of channel `c`.
pub(crate) type Escaped = u32;

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
) -> Result<[Escaped; TILES]> {
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

fn decode_scalar(
    tiles: &mut [Decoder<'_>],
    models: &[BlockModels],
    rows: &mut [TileRows],
    block: usize,
) -> Result<[Escaped; TILES]> {
    let mut escaped = [0; TILES];
    for (((tile, models), rows), escaped) in tiles.iter_mut().zip(models).zip(rows).zip(&mut escaped) {
        for (channel, model) in models.iter().enumerate() {
            let Some(model) = model else { continue };
            for row in rows.channel_mut(block * BLOCK_CHANNELS + channel) {
                *escaped |= Escaped::from(decode_row(tile, *model, row)?) << channel;
            }
        }
    }
    Ok(escaped)
}

/// Decodes a row of any number of tokens, and says whether it has escapes.
pub(super) fn decode_row(tile: &mut Decoder<'_>, model: ChannelModel, row: &mut [u8]) -> Result<bool> {
    tile.row(model.model, row)?;
    let escaped = row.contains(&ESCAPE);
    row.iter_mut().for_each(|symbol| *symbol = symbol.wrapping_add(model.bias));
    Ok(escaped)
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;
    use crate::cursor::Cursor;
    use crate::model::model_set;
    use crate::simd::encode_tile;
    use crate::tile::rans::Encoder;

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

    fn bias(channel: usize) -> u8 {
        (37 * channel) as u8
    }

    fn assert_coded_alike(num_tokens: usize, num_tiles: usize, seed: u64) {
        let mut rng = StdRng::seed_from_u64(seed);
        let models: Vec<_> = (0..num_tiles).map(|_| models(&mut rng)).collect();
        let rows: Vec<_> = models.iter().map(|models| symbols(models, num_tokens, &mut rng)).collect();
        let encode = |isa| -> Vec<(Vec<u32>, Vec<u16>)> {
            let mut encoder = Encoder::new(CHANNELS * num_tokens, num_tokens);
            let encode = |(models, rows): (&Vec<_>, &TileRows)| {
                encode_tile(isa, models, rows, &mut encoder);
                (encoder.states().collect(), encoder.words().to_vec())
            };
            models.iter().zip(&rows).map(encode).collect()
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
                let with_bias = |(channel, model): (usize, &Option<&'static Model>)| {
                    model.map(|model| ChannelModel { model, bias: bias(channel) })
                };
                let of_block = |models: &Vec<Option<&'static Model>>| -> BlockModels {
                    let all: Vec<_> = models.iter().enumerate().map(with_bias).collect();
                    *all.as_chunks().0.get(block).unwrap()
                };
                let models: Vec<BlockModels> = models.iter().map(of_block).collect();
                let escaped = decode_block(isa, &mut decoders, &models, &mut decoded, block).unwrap();
                for (escaped, (rows, models)) in escaped.into_iter().zip(rows.iter().zip(&models)) {
                    let has_escapes = |channel: usize| {
                        rows.channel(block * BLOCK_CHANNELS + channel).flatten().any(|&symbol| symbol == ESCAPE)
                    };
                    let coded = models.iter().enumerate().filter(|(_, model)| model.is_some());
                    let expected = coded.fold(0, |all, (channel, _)| all | u32::from(has_escapes(channel)) << channel);
                    assert_eq!(escaped, expected, "{isa}, {num_tokens} tokens, {num_tiles} tiles");
                }
            }
            for ((decoded, rows), models) in decoded.iter().zip(&rows).zip(&models) {
                for channel in (0..CHANNELS).filter(|&channel| models[channel].is_some()) {
                    let values = rows.channel(channel).flatten().map(|symbol| symbol.wrapping_add(bias(channel)));
                    let alike = decoded.channel(channel).flatten().copied().eq(values);
                    assert!(alike, "{isa}, {num_tokens} tokens, {num_tiles} tiles");
                }
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
