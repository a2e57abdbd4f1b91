//! One head, from values and fractions to a tile in each quality layer.

use super::coding::{CODE_CLASSES, ChannelCode};
use super::head::{Channel, HeadCoder};
use crate::levels::scratch::{Scratch, TileScratch};
use crate::levels::{EncodedPlanes, values};
use crate::rows::TileRows;
use crate::simd::{self, Isa};

/// Adds the tiles of a head to each layer; gives whether escapes can say all values.
///
/// `numbers`: the head's, `[token][head_dim]`.
pub(super) fn push_tiles(
    isa: Isa,
    head: &HeadCoder,
    numbers: &[f32],
    scratch: &mut Scratch,
    out: &mut [EncodedPlanes],
) -> bool {
    let Scratch { values, fractions, tile, .. } = scratch;
    let mut all_said = true;
    for (quality, out) in out.iter_mut().enumerate() {
        tile.clear();
        for (channel, &Channel { enters, mean, .. }) in head.channels.iter().enumerate() {
            let mut code = None;
            match enters {
                Some(enters) if enters < quality => {
                    simd::take_fractions(isa, (quality - enters - 1) as u32, fractions, channel, &mut tile.raw);
                    tile.models.push(None);
                    continue;
                }
                Some(enters) if enters == quality => code = Some(choose_code(isa, head, values, channel)),
                _ => {}
            }
            if let Some(code) = code {
                all_said &= code_values(isa, head, numbers, code, channel, values, tile);
            }
            tile.parameters.push(code.map_or(0, ChannelCode::to_byte));
            if quality == 0 {
                tile.parameters.push(mean.cast_unsigned());
            }
            tile.models.push(code.map(|code| code.values().model));
        }
        let coded = tile.encode(isa, values);
        out.tiles.push(|tiles| coded.write(tiles));
    }
    all_said
}

fn choose_code(isa: Isa, head: &HeadCoder, values: &TileRows, channel: usize) -> ChannelCode {
    let moments = simd::moments(isa, values, channel);
    let class = values::class_for(u64::from(moments.squares) << 10, values.num_tokens() as u64).min(CODE_CLASSES - 1);
    ChannelCode { class, exponent: head.channels[channel].exponent }
}

/// Puts symbols in the place of a channel's values; gives whether escapes can say all values.
fn code_values(
    isa: Isa,
    head: &HeadCoder,
    numbers: &[f32],
    code: ChannelCode,
    channel: usize,
    rows: &mut TileRows,
    tile: &mut TileScratch,
) -> bool {
    let TileScratch { raw, escapes, .. } = tile;
    let mut all_said = true;
    values::to_symbols(isa, code.values().window, rows, channel, raw, |token, value| {
        let exact = match value.cast_signed() {
            -127 | 127 => head.value(channel, numbers[token * head.channels.len() + channel]),
            value => i32::from(value),
        };
        all_said &= i16::try_from(exact).is_ok();
        escapes.extend_from_slice(&(exact as i16).to_le_bytes());
    });
    all_said
}
