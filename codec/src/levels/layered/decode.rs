//! From preambles and tiles of some quality layers to elements.
#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::cast_possible_truncation)
)]

use super::coding::ChannelCode;
use super::restore::Restorer;
use super::steps::Steps;
use super::{BASE_PARAMETER_BYTES, ESCAPE_BYTES};
use crate::cursor::Cursor;
use crate::element::Element;
use crate::levels::LayerParts;
use crate::levels::values::{self, ValueCoding};
use crate::plane::PlaneShape;
use crate::rope::Turns;
use crate::rows::{BLOCK_CHANNELS, TileRows};
use crate::simd::{self, BlockModels, Escaped, Isa, TILES};
use crate::tile::rans::Decoder;
use crate::tile::{ALIGNMENT, Tile};
use crate::{Level, Result};

/// Most refinements of a channel: one for each layer above the base.
const MAX_REFINEMENTS: usize = Level::MAX_QUALITIES as usize - 1;

/// Fills a plane from the next preamble of the base and the next tiles of each quality layer, one per kv head.
pub(in crate::levels) fn decode_plane<E: Element>(
    isa: Isa,
    shape: &PlaneShape,
    turns: Option<&Turns>,
    layers: &mut [LayerParts<'_>],
    plane: &mut [u8],
) -> Result<()> {
    let Some(base) = layers.first_mut() else { return Ok(()) };
    let steps = Steps::read(shape, &mut base.preamble)?;
    let rows = || TileRows::zeroed(shape.head_dim, shape.num_tokens);
    let mut values: Vec<TileRows> = (0..TILES.min(shape.num_kv_heads)).map(|_| rows()).collect();
    let mut fractions = rows();
    let mut restorer = Restorer::new(shape);
    for first_head in (0..shape.num_kv_heads).step_by(TILES) {
        let num_heads = TILES.min(shape.num_kv_heads.saturating_sub(first_head));
        let mut heads = Heads::parse(shape, first_head, num_heads, layers)?;
        let values = values.get_mut(..num_heads).unwrap_or_default();
        heads.decode_values(isa, shape, values)?;
        for (head, values) in heads.heads.iter_mut().zip(values) {
            head.replace_symbols(isa, values, &mut fractions)?;
            restorer.write::<E>(isa, head, &steps, turns, [values, &fractions], plane);
        }
        heads.finish()?;
    }
    steps.write_exact(shape, plane);
    Ok(())
}

/// A channel, as the layers that are there say.
pub(super) struct Channel {
    pub(super) mean: i8,
    /// The layer that has its values, and how.
    pub(super) entered: Option<Entered>,
}

/// How a channel has got values.
#[derive(Clone, Copy)]
pub(super) struct Entered {
    pub(super) quality: usize,
    pub(super) exponent: i8,
    coding: ValueCoding,
}

/// What a tile has besides its symbols.
struct LayerTail<'a> {
    raw: Cursor<'a>,
    escapes: Cursor<'a>,
}

/// A value beyond what a row can say.
pub(super) struct FarValue {
    pub(super) token: usize,
    pub(super) channel: usize,
    pub(super) value: i16,
}

/// Heads that are decoded in lockstep.
struct Heads<'a> {
    heads: Vec<Head<'a>>,
    /// Of each quality layer and head.
    symbols: Vec<Vec<Decoder<'a>>>,
}

impl<'a> Heads<'a> {
    fn parse(shape: &PlaneShape, first_head: usize, num_heads: usize, layers: &mut [LayerParts<'a>]) -> Result<Self> {
        let heads = (first_head..).take(num_heads).map(Head::new).collect();
        let mut parsed = Self { heads, symbols: Vec::new() };
        for (quality, layer) in layers.iter_mut().enumerate() {
            let push = |head: &mut Head<'a>| head.push_layer(shape, quality, layer.tiles.next_tile()?);
            parsed.symbols.push(parsed.heads.iter_mut().map(push).collect::<Result<_>>()?);
        }
        Ok(parsed)
    }

    /// Decodes the symbols of all layers, and checks that each stream was used up.
    fn decode_values(&mut self, isa: Isa, shape: &PlaneShape, values: &mut [TileRows]) -> Result<()> {
        for (quality, mut symbols) in self.symbols.drain(..).enumerate() {
            for block in 0..shape.num_blocks() {
                let models: Vec<BlockModels> = self.heads.iter().map(|head| head.models(quality, block)).collect();
                let escaped = simd::decode_block(isa, &mut symbols, &models, values, block)?;
                self.heads.iter_mut().zip(escaped).for_each(|(head, escaped)| head.note_escaped(block, escaped));
            }
            symbols.into_iter().try_for_each(Decoder::finish)?;
        }
        Ok(())
    }

    /// Checks that all bytes were used.
    fn finish(self) -> Result<()> {
        let mut tails = self.heads.into_iter().flat_map(|head| head.tails);
        tails.try_for_each(|tail| tail.escapes.finish_padding(ALIGNMENT))
    }
}

/// One head: its channels, and what is left of its tiles.
pub(super) struct Head<'a> {
    pub(super) head: usize,
    pub(super) channels: Vec<Channel>,
    pub(super) far: Vec<FarValue>,
    /// Of each block.
    escaped: Vec<Escaped>,
    tails: Vec<LayerTail<'a>>,
}

impl<'a> Head<'a> {
    fn new(head: usize) -> Self {
        Self { head, channels: Vec::new(), far: Vec::new(), escaped: Vec::new(), tails: Vec::new() }
    }

    /// Takes the parameters of a layer in, cuts its tile, and gives its symbols.
    fn push_layer(&mut self, shape: &PlaneShape, quality: usize, tile: Cursor<'a>) -> Result<Decoder<'a>> {
        let waiting = self.channels.iter().filter(|channel| channel.entered.is_none()).count();
        let parameter_bytes = match quality {
            0 => shape.head_dim.saturating_mul(BASE_PARAMETER_BYTES),
            _ => waiting,
        };
        let refined = self.channels.len().saturating_sub(waiting);
        let refuse = tile.clone();
        let Tile::Coded { parameters, symbols, tail: mut escapes } =
            Tile::parse(tile, parameter_bytes, shape.num_tokens)?
        else {
            return Err(refuse.corrupt("a tile of a layered level is verbatim"));
        };
        let no_meaning = |code| refuse.corrupt(format!("channel code {code} has no meaning"));
        let raw_bits = self.enter(quality, parameters).map_err(no_meaning)?;
        let planes = refined.saturating_add(raw_bits);
        let raw_bytes = planes.saturating_mul(values::raw_bytes(shape.num_tokens, 1));
        let raw = escapes.split(raw_bytes, "the raw bits of a tile")?;
        self.tails.push(LayerTail { raw, escapes });
        Ok(symbols)
    }

    /// Reads codes; gives the sum of the raw bits of the channels that enter, or the code that has no meaning.
    fn enter(&mut self, quality: usize, parameters: &[u8]) -> std::result::Result<usize, u8> {
        let mut stride = 1;
        if quality == 0 {
            stride = BASE_PARAMETER_BYTES;
            let means = parameters.as_chunks::<BASE_PARAMETER_BYTES>().0.iter();
            self.channels = means.map(|[_, mean]| Channel { mean: mean.cast_signed(), entered: None }).collect();
        }
        let codes = parameters.iter().step_by(stride).copied();
        let mut raw_bits = 0usize;
        for (channel, code) in self.channels.iter_mut().filter(|channel| channel.entered.is_none()).zip(codes) {
            if code != 0 {
                let code = ChannelCode::from_byte(code).ok_or(code)?;
                let coding = code.values();
                channel.entered = Some(Entered { quality, exponent: code.exponent, coding });
                raw_bits = raw_bits.saturating_add(coding.window.raw_bits as usize);
            }
        }
        Ok(raw_bits)
    }

    /// The models of the channels of a block that enter in a layer.
    fn models(&self, quality: usize, block: usize) -> BlockModels {
        let mut models = [None; BLOCK_CHANNELS];
        let channels = self.channels.chunks(BLOCK_CHANNELS).nth(block).unwrap_or_default();
        for (model, channel) in models.iter_mut().zip(channels) {
            let entered = channel.entered.filter(|entered| entered.quality == quality);
            *model = entered.map(|entered| entered.coding.channel_model());
        }
        models
    }

    /// Takes in which channels of a block have escapes in a layer.
    fn note_escaped(&mut self, block: usize, escaped: Escaped) {
        self.escaped.resize(self.escaped.len().max(block.saturating_add(1)), 0);
        self.escaped.iter_mut().skip(block).take(1).for_each(|all| *all |= escaped);
    }

    /// Puts values in the place of symbols, and fills the fractions from the bits of refinements.
    fn replace_symbols(&mut self, isa: Isa, rows: &mut TileRows, fractions: &mut TileRows) -> Result<()> {
        let Self { channels, tails, far, escaped, .. } = self;
        let plane_bytes = values::raw_bytes(rows.num_tokens(), 1);
        for (channel, Channel { entered, .. }) in channels.iter().enumerate() {
            let mut planes: [&[u8]; MAX_REFINEMENTS] = [&[]; MAX_REFINEMENTS];
            let mut refinements = 0usize;
            if let Some(Entered { quality, coding, .. }) = entered {
                let mut layers = tails.iter_mut().skip(*quality);
                if let Some(LayerTail { raw, escapes }) = layers.next() {
                    let escaped = escaped
                        .get(channel / BLOCK_CHANNELS)
                        .is_some_and(|all| all >> (channel % BLOCK_CHANNELS) & 1 == 1);
                    values::from_symbols(isa, coding.window, escaped, rows, channel, raw, |token, place| {
                        let value = i16::from_le_bytes(escapes.array::<ESCAPE_BYTES>("an escaped value")?);
                        match i8::try_from(value) {
                            Ok(value) => *place = value.cast_unsigned(),
                            Err(_) => far.push(FarValue { token, channel, value }),
                        }
                        Ok(())
                    })?;
                }
                for (plane, tail) in planes.iter_mut().zip(layers) {
                    *plane = tail.raw.take(plane_bytes, "the bits of a refinement")?;
                    refinements = refinements.saturating_add(1);
                }
            }
            simd::put_fractions(isa, planes.get(..refinements).unwrap_or_default(), fractions, channel);
        }
        Ok(())
    }
}
