//! From preambles and tiles of some quality layers to elements.
#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::cast_possible_truncation)
)]

use super::coding::{ChannelCode, step_factor};
use super::recipe::largest_error;
use super::{BASE_PARAMETER_BYTES, ESCAPE_BYTES, PREAMBLE_HEADER_BYTES};
use crate::cursor::Cursor;
use crate::element::Element;
use crate::levels::LayerParts;
use crate::levels::values;
use crate::plane::PlaneShape;
use crate::rope::Turns;
use crate::rows::{BLOCK_CHANNELS, TileRows};
use crate::simd::{self, BlockModels, Isa, Scales, TILES};
use crate::tile::rans::{Decoder, LANES};
use crate::tile::{ALIGNMENT, Tile};
use crate::{Level, Result, Side};

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
    for first_head in (0..shape.num_kv_heads).step_by(TILES) {
        let last_head = first_head.saturating_add(TILES).min(shape.num_kv_heads);
        let mut heads = Heads::parse(shape, first_head..last_head, layers)?;
        heads.decode_values(isa, shape)?;
        for (head, values) in heads.heads.into_iter().zip(heads.values) {
            head.write::<E>(isa, shape, turns, &steps, values, plane)?;
        }
    }
    steps.write_exact(shape, plane);
    Ok(())
}

/// What the preamble of the base says of a plane.
struct Steps<'a> {
    step: f32,
    mean_step: f32,
    /// Elements of the first tokens.
    exact: &'a [u8],
}

impl<'a> Steps<'a> {
    fn read(shape: &PlaneShape, preamble: &mut Cursor<'a>) -> Result<Self> {
        let mut fields = preamble.split(PREAMBLE_HEADER_BYTES, "a plane's steps")?;
        let [step, mean_step] = [fields.u32("a step")?, fields.u32("a step of means")?].map(f32::from_bits);
        let exact_tokens = fields.u32("number of exact tokens")? as usize;
        if [step, mean_step].iter().any(|step| !(step.is_finite() && *step > 0.0)) || exact_tokens > shape.num_tokens {
            return Err(fields.corrupt(format!("steps {step}, {mean_step}, {exact_tokens} exact tokens")));
        }
        let bytes = exact_tokens.saturating_mul(shape.token_bytes());
        let mut padded = preamble.split(bytes.next_multiple_of(ALIGNMENT), "exact elements")?;
        let exact = padded.take(bytes, "exact elements")?;
        padded.finish_padding(ALIGNMENT)?;
        Ok(Self { step, mean_step, exact })
    }

    fn write_exact(&self, shape: &PlaneShape, plane: &mut [u8]) {
        let tokens = plane.chunks_exact_mut(shape.token_bytes());
        tokens.zip(self.exact.chunks_exact(shape.token_bytes())).for_each(|(to, exact)| to.copy_from_slice(exact));
    }
}

/// The largest error that the planes of a segment of Q1 can have, by their steps: those in its preamble.
pub(in crate::levels) fn error_bound(
    shape: &PlaneShape,
    side: Side,
    num_planes: usize,
    preamble: &mut Cursor<'_>,
) -> Result<f64> {
    let mut largest = 0.0f64;
    for _ in 0..num_planes {
        largest = largest.max(largest_error(side, Steps::read(shape, preamble)?.step));
    }
    Ok(largest)
}

/// Step of a 256th of a value, and what is added: the channel's mean, less the half by which fractions are above.
///
/// `halvings`: of the plane's step, before the channel entered; none where the channel has no values yet.
#[expect(clippy::arithmetic_side_effects, reason = "floats do not overflow to errors")]
pub(super) fn scales(step: f32, exponent: i8, halvings: Option<usize>, mean_step: f32, mean: i8) -> [f32; 2] {
    let mean = f32::from(mean) * mean_step;
    let Some(halvings) = halvings else { return [0.0, mean] };
    let halved = (0..halvings).fold(step * step_factor(exponent), |step, _| step * 0.5);
    let fine = halved * (1.0 / 256.0);
    [fine, mean - 128.0 * fine]
}

/// A channel, as the layers that are there say.
struct Channel {
    mean: i8,
    /// The layer that has its values, and how.
    entered: Option<(usize, ChannelCode)>,
}

/// What a tile has besides its symbols.
struct LayerTail<'a> {
    raw: Cursor<'a>,
    escapes: Cursor<'a>,
}

/// A value beyond what a row can say.
struct FarValue {
    token: usize,
    channel: usize,
    value: i16,
}

/// Heads that are decoded in lockstep.
struct Heads<'a> {
    heads: Vec<Head<'a>>,
    /// Of each quality layer and head.
    symbols: Vec<Vec<Decoder<'a>>>,
    /// Of each head.
    values: Vec<TileRows>,
}

impl<'a> Heads<'a> {
    fn parse(shape: &PlaneShape, heads: std::ops::Range<usize>, layers: &mut [LayerParts<'a>]) -> Result<Self> {
        let values = heads.clone().map(|_| TileRows::zeroed(shape.head_dim, shape.num_tokens)).collect();
        let mut parsed = Self { heads: heads.map(Head::new).collect(), symbols: Vec::new(), values };
        for (quality, layer) in layers.iter_mut().enumerate() {
            let push = |head: &mut Head<'a>| head.push_layer(shape, quality, layer.tiles.next_tile()?);
            parsed.symbols.push(parsed.heads.iter_mut().map(push).collect::<Result<_>>()?);
        }
        Ok(parsed)
    }

    /// Decodes the symbols of all layers, and checks that each stream was used up.
    fn decode_values(&mut self, isa: Isa, shape: &PlaneShape) -> Result<()> {
        for (quality, mut symbols) in self.symbols.drain(..).enumerate() {
            for block in 0..shape.num_blocks() {
                let models: Vec<BlockModels> = self.heads.iter().map(|head| head.models(quality, block)).collect();
                simd::decode_block(isa, &mut symbols, &models, &mut self.values, block)?;
            }
            symbols.into_iter().try_for_each(Decoder::finish)?;
        }
        Ok(())
    }
}

/// One head: its channels, and what is left of its tiles.
struct Head<'a> {
    head: usize,
    channels: Vec<Channel>,
    tails: Vec<LayerTail<'a>>,
    far: Vec<FarValue>,
}

impl<'a> Head<'a> {
    fn new(head: usize) -> Self {
        Self { head, channels: Vec::new(), tails: Vec::new(), far: Vec::new() }
    }

    /// Takes the parameters of a layer in, cuts its tile, and gives its symbols.
    fn push_layer(&mut self, shape: &PlaneShape, quality: usize, tile: Cursor<'a>) -> Result<Decoder<'a>> {
        let parameter_bytes = match quality {
            0 => shape.head_dim.saturating_mul(BASE_PARAMETER_BYTES),
            _ => self.channels.iter().filter(|channel| channel.entered.is_none()).count(),
        };
        let refuse = tile.clone();
        let Tile::Coded { parameters, symbols, tail: mut escapes } =
            Tile::parse(tile, parameter_bytes, shape.num_tokens)?
        else {
            return Err(refuse.corrupt("a tile of a layered level is verbatim"));
        };
        let refined = self.channels.iter().filter(|channel| channel.entered.is_some()).count();
        let raw_bits = self
            .enter(quality, parameters)
            .map_err(|code| refuse.corrupt(format!("channel code {code} has no meaning")))?;
        let plane_bytes = values::raw_bytes(shape.num_tokens, 1);
        let raw_planes = refined.saturating_add(raw_bits);
        let raw = escapes.split(raw_planes.saturating_mul(plane_bytes), "the raw bits of a tile")?;
        self.tails.push(LayerTail { raw, escapes });
        Ok(symbols)
    }

    /// Reads codes; gives the sum of the raw bits of the channels that enter, or the code that has no meaning.
    fn enter(&mut self, quality: usize, parameters: &[u8]) -> std::result::Result<usize, u8> {
        if quality == 0 {
            let means = parameters.as_chunks::<BASE_PARAMETER_BYTES>().0.iter();
            self.channels = means.map(|[_, mean]| Channel { mean: mean.cast_signed(), entered: None }).collect();
        }
        let stride = if quality == 0 { BASE_PARAMETER_BYTES } else { 1 };
        let codes = parameters.iter().step_by(stride).copied();
        let mut raw_bits = 0usize;
        for (channel, code) in self.channels.iter_mut().filter(|channel| channel.entered.is_none()).zip(codes) {
            if code != 0 {
                let code = ChannelCode::from_byte(code).ok_or(code)?;
                channel.entered = Some((quality, code));
                raw_bits = raw_bits.saturating_add(code.values().window.raw_bits as usize);
            }
        }
        Ok(raw_bits)
    }

    /// The models of the channels of a block that enter in a layer.
    fn models(&self, quality: usize, block: usize) -> BlockModels {
        let mut models = [None; BLOCK_CHANNELS];
        let channels = self.channels.chunks(BLOCK_CHANNELS).nth(block).unwrap_or_default();
        for (model, channel) in models.iter_mut().zip(channels) {
            *model = channel.entered.filter(|entered| entered.0 == quality).map(|(_, code)| code.values().model);
        }
        models
    }

    /// Puts values in the place of the symbols of a layer.
    fn replace_symbols(&mut self, isa: Isa, quality: usize, rows: &mut TileRows) -> Result<()> {
        let Self { channels, tails, far, .. } = self;
        let Some(LayerTail { raw, escapes }) = tails.get_mut(quality) else { return Ok(()) };
        for (channel, Channel { entered, .. }) in channels.iter().enumerate() {
            match entered {
                Some((layer, code)) if *layer == quality => {
                    values::from_symbols(isa, code.values().window, rows, channel, raw, |token, place| {
                        let value = i16::from_le_bytes(escapes.array::<ESCAPE_BYTES>("an escaped value")?);
                        match i8::try_from(value) {
                            Ok(value) => *place = value.cast_unsigned(),
                            Err(_) => far.push(FarValue { token, channel, value }),
                        }
                        Ok(())
                    })?;
                }
                // Raw bits of refinements lie between those of entering channels.
                Some((layer, _)) if *layer < quality => {
                    raw.take(values::raw_bytes(rows.num_tokens(), 1), "the bits of a refinement")?;
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Most refinements of a channel: one for each layer above the base.
const MAX_REFINEMENTS: usize = Level::MAX_QUALITIES as usize - 1;

impl<'a> Head<'a> {
    /// Writes the head's elements, a row of tokens at a time, and checks that all bytes were used.
    fn write<E: Element>(
        mut self,
        isa: Isa,
        shape: &PlaneShape,
        turns: Option<&Turns>,
        steps: &Steps<'_>,
        mut values: TileRows,
        plane: &mut [u8],
    ) -> Result<()> {
        let fractions = self.fractions(isa, shape)?;
        for quality in 0..self.tails.len() {
            self.replace_symbols(isa, quality, &mut values)?;
        }
        let rows = [values, fractions];
        let scales = self.scales(steps);
        let mut lines = vec![0.0; shape.head_dim.saturating_mul(LANES)];
        let mut outputs = shape.head_mut(plane, self.head);
        for row in 0..shape.num_tokens.div_ceil(LANES) {
            self.restore_row(isa, row, &rows, &scales, &mut lines);
            self.restore_far(row, &rows, &scales, &mut lines);
            let first_token = row.saturating_mul(LANES);
            for (token, (line, elements)) in
                (first_token..).zip(lines.chunks_exact_mut(shape.head_dim).zip(&mut outputs))
            {
                if let Some(turns) = turns {
                    let [cos, sin] = turns.token(token);
                    simd::rotate(isa, line, cos, sin);
                }
                simd::narrow::<E>(isa, line, elements);
            }
        }
        self.finish()
    }

    fn scales(&self, steps: &Steps<'_>) -> Scales {
        let mut all = Scales::default();
        for channel in &self.channels {
            let (halvings, exponent) = channel.entered.map_or((None, 0), |(layer, code)| (Some(layer), code.exponent));
            let [step, offset] = scales(steps.step, exponent, halvings, steps.mean_step, channel.mean);
            all.steps.push(step);
            all.offsets.push(offset);
        }
        all
    }

    /// The fractions of all channels, from the refinements' bits.
    fn fractions(&self, isa: Isa, shape: &PlaneShape) -> Result<TileRows> {
        let num_tokens = shape.num_tokens;
        let mut rows = TileRows::zeroed(shape.head_dim, num_tokens);
        let plane_bytes = values::raw_bytes(num_tokens, 1);
        let row_bytes = LANES.div_ceil(8);
        let mut cursors: Vec<Cursor<'_>> = self.tails.iter().map(|tail| tail.raw.clone()).collect();
        for (channel, Channel { entered, .. }) in self.channels.iter().enumerate() {
            let mut planes: [&[u8]; MAX_REFINEMENTS] = [&[]; MAX_REFINEMENTS];
            let mut count = 0usize;
            for (quality, raw) in cursors.iter_mut().enumerate() {
                match entered {
                    Some((layer, _)) if *layer < quality => {
                        let plane = raw.take(plane_bytes, "bits of a refinement")?;
                        planes.iter_mut().skip(count).take(1).for_each(|place| *place = plane);
                        count = count.saturating_add(1);
                    }
                    Some((layer, code)) if *layer == quality => {
                        let raw_bits = code.values().window.raw_bits;
                        raw.take(values::raw_bytes(num_tokens, raw_bits), "raw bits of values")?;
                    }
                    _ => {}
                }
            }
            for (row, fractions) in rows.channel_mut(channel).enumerate() {
                let start = row.saturating_mul(row_bytes);
                let of_row = planes.map(|plane| plane.get(start..).unwrap_or_default());
                simd::put_fractions(isa, of_row.get(..count).unwrap_or_default(), fractions);
            }
        }
        Ok(rows)
    }

    /// The numbers of a row of tokens, `[token][head_dim]`.
    fn restore_row(&self, isa: Isa, row: usize, rows: &[TileRows; 2], scales: &Scales, lines: &mut [f32]) {
        let head_dim = self.channels.len();
        for (block, first) in (0..head_dim).step_by(BLOCK_CHANNELS).enumerate() {
            let channels = first..first.saturating_add(BLOCK_CHANNELS).min(head_dim);
            let squares = rows.each_ref().map(|rows| rows.block(block).get(row));
            let [Some(values), Some(fractions)] = squares else { continue };
            let [values, fractions] = [values, fractions].map(|square| simd::turn(isa, square));
            let steps = scales.steps.get(channels.clone()).unwrap_or_default();
            let offsets = scales.offsets.get(channels.clone()).unwrap_or_default();
            for ((line, values), fractions) in lines.chunks_exact_mut(head_dim).zip(&values).zip(&fractions) {
                let line = line.get_mut(channels.clone()).unwrap_or_default();
                simd::restore(isa, steps, offsets, values, fractions, line);
            }
        }
    }

    /// Corrects the values of a row that rows cannot say.
    fn restore_far(&self, row: usize, [_, fractions]: &[TileRows; 2], scales: &Scales, lines: &mut [f32]) {
        let head_dim = self.channels.len();
        for FarValue { token, channel, value } in &self.far {
            let Some(lane) = token.checked_sub(row.saturating_mul(LANES)).filter(|lane| *lane < LANES) else {
                continue;
            };
            let fraction = fractions.channel(*channel).nth(row).and_then(|row| row.get(lane).copied());
            let scale = scales.steps.get(*channel).zip(scales.offsets.get(*channel));
            let place = lines.get_mut(lane.saturating_mul(head_dim).saturating_add(*channel));
            if let (Some(place), Some(fraction), Some((step, offset))) = (place, fraction, scale) {
                let word = i32::from(*value) << 8 | i32::from(fraction);
                #[expect(clippy::arithmetic_side_effects, reason = "floats do not overflow to errors")]
                let x = word as f32 * step + offset;
                *place = x;
            }
        }
    }

    fn finish(self) -> Result<()> {
        self.tails.into_iter().try_for_each(|tail| tail.escapes.finish_padding(ALIGNMENT))
    }
}
