//! Segments to chunks.
#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::cast_possible_truncation)
)]

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::header::{HEADER_BYTES, SegmentHeader, check_checksum};
use crate::cursor::Cursor;
use crate::levels::LayerParts;
use crate::plane::PlaneShape;
use crate::tile::index::{ENTRY_BYTES, TileReader};
use crate::{Error, Geometry, Isa, KvChunk, Result, SegmentKey, Side, levels};

/// Checks that `bytes` are a whole segment, unchanged since it was encoded: header, and checksum over all bytes.
///
/// # Errors
/// `Corrupt` when the bytes are not what an encoder wrote, `Incompatible` when they are but not for this build.
pub fn verify(bytes: &[u8]) -> Result<SegmentHeader> {
    check_checksum(bytes)?;
    SegmentHeader::parse(bytes)
}

/// Verifies a segment of quality 0 and decodes it into its planes of `into`.
///
/// After an error the content of those planes is unspecified. Elements need not be finite: those of q0 are any bits, and
/// a forged segment of q1 or q3 may say what is beyond the range of the dtype.
///
/// # Errors
/// As [`verify`], `Corrupt` when the tiles contradict themselves, and `Incompatible` when geometry or number of tokens
/// are not those of `into`.
pub fn decode_segment(bytes: &[u8], into: &mut KvChunk) -> Result<SegmentHeader> {
    decode_layers_on(Isa::best(), &[bytes], into)
}

/// Verifies the segments of one layer group and side from quality 0 on, and decodes them together: each refines those
/// before it, and any number of them will do.
///
/// # Errors
/// As [`decode_segment`], and `Invalid` when the segments do not belong together or one is missing between them.
pub fn decode_layers(segments: &[&[u8]], into: &mut KvChunk) -> Result<SegmentHeader> {
    decode_layers_on(Isa::best(), segments, into)
}

/// [`decode_layers`] with one instruction set; the header is that of the last segment.
pub(super) fn decode_layers_on(isa: Isa, segments: &[&[u8]], into: &mut KvChunk) -> Result<SegmentHeader> {
    let group = Group::verify(segments)?;
    check_shape(group.base()?, into.geometry(), into.num_tokens())?;
    let mut planes: Vec<Option<&mut [u8]>> = into.planes_mut().map(Some).collect();
    group.decode(isa, group.take_planes(&mut planes)?)
}

/// The segments of one layer group and side, in the order of their quality.
pub(super) struct Group<'a> {
    segments: Vec<&'a [u8]>,
    headers: Vec<SegmentHeader>,
}

impl<'a> Group<'a> {
    /// Verifies segments that belong together.
    pub(super) fn verify(segments: &[&'a [u8]]) -> Result<Self> {
        let headers = segments.iter().map(|bytes| verify(bytes)).collect::<Result<Vec<_>>>()?;
        check_together(&headers)?;
        Ok(Self { segments: segments.to_vec(), headers })
    }

    /// The header of quality 0.
    pub(super) fn base(&self) -> Result<&SegmentHeader> {
        self.headers.first().ok_or_else(|| Error::Invalid("no segments to decode".to_owned()))
    }

    /// What lies behind the headers.
    pub(super) fn parts(&self) -> Result<Vec<LayerParts<'a>>> {
        self.segments.iter().zip(&self.headers).map(|(bytes, header)| parts(bytes, header)).collect()
    }

    /// Takes the planes that the segments hold out of those that are left.
    fn take_planes<'p>(&self, planes: &mut [Option<&'p mut [u8]>]) -> Result<Vec<&'p mut [u8]>> {
        let base = self.base()?;
        let (side, first_layer) = (base.key().side, base.first_layer());
        let take = |layer: usize| {
            let place = planes.get_mut(layer.saturating_mul(2).saturating_add(side as usize));
            let twice = || Error::Invalid(format!("two segments hold {side:?} of layer {layer}"));
            place.and_then(Option::take).ok_or_else(twice)
        };
        (first_layer..first_layer.saturating_add(base.num_layers())).map(take).collect()
    }

    /// Decodes into these planes; the header is that of the last segment.
    fn decode(&self, isa: Isa, planes: Vec<&mut [u8]>) -> Result<SegmentHeader> {
        let base = self.base()?;
        let (level, side, geometry, num_tokens) = (base.level(), base.key().side, base.geometry(), base.num_tokens());
        let mut layers = self.parts()?;
        let shape = PlaneShape::new(geometry, num_tokens);
        let position = read_position(base, &mut layers)?;
        let turns = levels::turns(level, side, position, geometry, num_tokens);
        for plane in planes {
            levels::decode_plane(isa, level, geometry, &shape, turns.as_deref(), &mut layers, plane)?;
        }
        for LayerParts { preamble, tiles } in layers {
            preamble.finish_padding(1)?;
            tiles.finish()?;
        }
        Ok(self.headers.last().unwrap_or(base).clone())
    }
}

/// The largest error that an element of a segment can have, which the encoder saw to: 0 at q0, at q1 the step of the
/// plane, times the square root of two for keys; the other levels have no bound, and state what was measured.
///
/// # Errors
/// As [`verify`].
pub fn error_bound(bytes: &[u8]) -> Result<Option<f64>> {
    let header = verify(bytes)?;
    let mut layers = [parts(bytes, &header)?];
    read_position(&header, &mut layers)?;
    let [LayerParts { preamble, .. }] = &mut layers;
    let shape = PlaneShape::new(header.geometry(), header.num_tokens());
    levels::error_bound(header.level(), &shape, header.key().side, header.num_layers(), preamble)
}

/// Cuts a segment behind its header.
fn parts<'a>(bytes: &'a [u8], header: &SegmentHeader) -> Result<LayerParts<'a>> {
    let mut body = Cursor::new(bytes, 0);
    body.take(HEADER_BYTES, "a segment's header")?;
    let index = body.split(header.num_tiles().saturating_mul(ENTRY_BYTES), "the index of tiles")?;
    let preamble = body.split(header.preamble_bytes, "the preamble")?;
    Ok(LayerParts { preamble, tiles: TileReader::new(index, body) })
}

/// RoPE and position of keys that were turned back: the header's, and scaling from the preamble.
pub(super) fn read_position(
    base: &SegmentHeader,
    layers: &mut [LayerParts<'_>],
) -> Result<Option<crate::rope::Position>> {
    match (&base.rope, layers.first_mut()) {
        (Some(rope), Some(layer)) => rope.read(&mut layer.preamble).map(Some),
        _ => Ok(None),
    }
}

/// Decodes the segments of a chunk, in any order; of each layer group and side, as many quality layers as there are.
///
/// Runs on the threads of the current rayon pool.
///
/// # Errors
/// As [`decode_layers`], and `Invalid` when a plane is covered by no segment or by two.
pub fn decode<'a>(
    geometry: Geometry,
    num_tokens: usize,
    segments: impl IntoIterator<Item = &'a [u8]>,
) -> Result<KvChunk> {
    let isa = Isa::best();
    decode_with(geometry, num_tokens, segments, |work| {
        work.into_par_iter().try_for_each(|(group, planes)| group.decode(isa, planes).map(drop))
    })
}

/// [`decode`] with one instruction set and one thread.
pub(super) fn decode_on<'a>(
    isa: Isa,
    geometry: Geometry,
    num_tokens: usize,
    segments: impl IntoIterator<Item = &'a [u8]>,
) -> Result<KvChunk> {
    decode_with(geometry, num_tokens, segments, |work| {
        work.into_iter().try_for_each(|(group, planes)| group.decode(isa, planes).map(drop))
    })
}

/// Segments that go together, and the planes that they hold.
type Work<'a, 'p> = Vec<(Group<'a>, Vec<&'p mut [u8]>)>;

/// Verifies all segments, and lets `run` decode them.
fn decode_with<'a>(
    geometry: Geometry,
    num_tokens: usize,
    segments: impl IntoIterator<Item = &'a [u8]>,
    run: impl FnOnce(Work<'a, '_>) -> Result<()>,
) -> Result<KvChunk> {
    let groups = by_group(segments)?;
    check_earned(&geometry, &groups)?;
    let mut chunk = KvChunk::zeroed(geometry, num_tokens)?;
    let mut planes: Vec<Option<&mut [u8]>> = chunk.planes_mut().map(Some).collect();
    let mut work = Work::new();
    for segments in groups {
        let group = Group::verify(&segments)?;
        check_shape(group.base()?, &geometry, num_tokens)?;
        let planes = group.take_planes(&mut planes)?;
        work.push((group, planes));
    }
    if let Some(plane) = planes.iter().position(Option::is_some) {
        let side = if plane % 2 == 0 { Side::K } else { Side::V };
        return Err(Error::Invalid(format!("no segment holds {side:?} of layer {}", plane / 2)));
    }
    run(work)?;
    Ok(chunk)
}

/// The segments of each layer group and side, in the order of their quality.
fn by_group<'a>(segments: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<Vec<&'a [u8]>>> {
    let mut groups = BTreeMap::<_, Vec<(u8, &[u8])>>::new();
    for bytes in segments {
        let key = SegmentHeader::parse(bytes)?.key();
        groups.entry((key.layer_group, key.side)).or_default().push((key.quality, bytes));
    }
    let sorted = groups.into_values().map(|mut group| {
        group.sort_by_key(|(quality, _)| *quality);
        group.into_iter().map(|(_, bytes)| bytes).collect()
    });
    Ok(sorted.collect())
}

/// Checks that segments are as long as a chunk's are at least, before there is room for the chunk: a channel of a plane
/// takes a byte of parameters.
fn check_earned(geometry: &Geometry, groups: &[Vec<&[u8]>]) -> Result<()> {
    let encoded_bytes = groups.iter().flatten().fold(0usize, |sum, bytes| sum.saturating_add(bytes.len()));
    let num_channels = geometry.num_layers().saturating_mul(2).saturating_mul(geometry.channels());
    if encoded_bytes < num_channels {
        return Err(Error::Invalid(format!("{encoded_bytes} bytes of segments for {num_channels} channels")));
    }
    Ok(())
}

/// Checks that segments are of one layer group and side of one chunk, from quality 0 on without a gap.
fn check_together(headers: &[SegmentHeader]) -> Result<()> {
    if let Some(key) = headers.first().map(SegmentHeader::key).filter(|key| key.quality != 0) {
        let SegmentKey { quality, side, .. } = key;
        return Err(Error::Invalid(format!("quality layer {quality} of {side:?} without those below it")));
    }
    for (quality, pair) in (1..).zip(headers.windows(2)) {
        let [below, header] = pair else { continue };
        if !header.refines(below) || header.key().quality != quality {
            return Err(not_together(header, below));
        }
    }
    Ok(())
}

fn not_together(header: &SegmentHeader, below: &SegmentHeader) -> Error {
    let (SegmentKey { quality, side, .. }, layer) = (header.key(), header.first_layer());
    Error::Invalid(match header.key() == below.key() {
        true => format!("two segments hold {side:?} of layer {layer}"),
        false => format!("quality layer {quality} of {side:?} of layer {layer} does not refine what is there"),
    })
}

fn check_shape(header: &SegmentHeader, geometry: &Geometry, num_tokens: usize) -> Result<()> {
    if header.geometry() != geometry || header.num_tokens() != num_tokens {
        return Err(Error::Incompatible(format!(
            "a segment of {} tokens of {:?} where {num_tokens} tokens of {geometry:?} are wanted",
            header.num_tokens(),
            header.geometry()
        )));
    }
    Ok(())
}
