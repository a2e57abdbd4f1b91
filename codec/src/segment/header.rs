//! The fixed header of a segment.
#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::cast_possible_truncation)
)]

use xxhash_rust::xxh3::Xxh3;

use super::rope_fields::RopeFields;
use crate::cursor::Cursor;
use crate::model::MODEL_SET;
use crate::{Distortion, Dtype, Error, Geometry, KvChunk, Level, Result, SegmentKey, Side};

const MAGIC: [u8; 4] = *b"KVDS";
/// Version of the segment format that this build writes and reads.
const VERSION: u16 = 2;
/// Bytes of the header.
pub(crate) const HEADER_BYTES: usize = 96;
/// Bytes of the header before the checksum, which is its last field.
const CHECKED_BYTES: usize = 88;
/// No profile: the level needs none.
const NO_PROFILE: u64 = 0;

/// What a segment says about itself.
#[derive(Debug, Clone, PartialEq)]
pub struct SegmentHeader {
    pub(crate) key: SegmentKey,
    pub(crate) geometry: Geometry,
    pub(crate) num_tokens: usize,
    pub(crate) first_layer: usize,
    pub(crate) num_layers: usize,
    pub(crate) level: Level,
    pub(crate) distortion: Distortion,
    pub(crate) rope: Option<RopeFields>,
    pub(crate) preamble_bytes: usize,
    pub(crate) encoded_bytes: usize,
    /// Checksum of the segment that this one refines; 0 for the base, and where the encoder did not say.
    pub(crate) refined: u64,
    pub(crate) checksum: u64,
}

impl SegmentHeader {
    /// Reads the header of the segment that `bytes` is, whole. Checks structure only: see [`verify`](crate::verify).
    ///
    /// # Errors
    /// `Corrupt` when the bytes are not a segment of the length they state, `Incompatible` when a field has a value
    /// that this build does not know.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let mut fields = fields_of(bytes)?;
        let level = known("level", fields.u8("level")?, Level::from_code)?;
        let quality = fields.u8("quality layer")?;
        let side = known("side", fields.u8("side")?, side_from_code)?;
        known("quality layer", quality, |quality| (quality < level.qualities(side)).then_some(()))?;
        let dtype = known("dtype", fields.u8("dtype")?, Dtype::from_code)?;
        known("model set", fields.u8("model set")?, |set| (set == MODEL_SET).then_some(()))?;
        let rope_kind = fields.u8("RoPE kind")?;
        let geometry = read_geometry(&mut fields, dtype)?;
        let num_tokens = usize::from(fields.u16("number of tokens")?);
        let layer_group = fields.u16("layer group")?;
        let first_layer = usize::from(fields.u16("first layer")?);
        let num_layers = usize::from(fields.u16("number of layers in the group")?);
        let reserved = fields.u16("reserved")?;
        let preamble_bytes = fields.u32("length of the preamble")? as usize;
        let refined = fields.u64("profile, or checksum of the layer below")?;
        known("profile", refined, |id| (quality > 0 || id == NO_PROFILE).then_some(()))?;
        let rope = RopeFields::parse(rope_kind, &mut fields)?;
        let distortion = read_distortion(&mut fields)?;
        fields.u64("length")?;
        let checksum = fields.u64("checksum")?;
        let last_layer = first_layer.saturating_add(num_layers);
        if num_tokens == 0 || num_tokens > KvChunk::MAX_TOKENS || num_layers == 0 || last_layer > geometry.num_layers()
        {
            return Err(fields.corrupt(format!(
                "{num_tokens} tokens of layers {first_layer}..{last_layer} of {}",
                geometry.num_layers()
            )));
        }
        if reserved != 0 || rope.is_some() != (level.needs_rope() && side == Side::K) {
            return Err(fields.corrupt(format!("reserved field {reserved}, {side:?} at level {level} with {rope:?}")));
        }
        let key = SegmentKey { quality, layer_group, side };
        let encoded_bytes = bytes.len();
        Ok(Self {
            key,
            geometry,
            num_tokens,
            first_layer,
            num_layers,
            level,
            distortion,
            rope,
            preamble_bytes,
            encoded_bytes,
            refined,
            checksum,
        })
    }

    /// The header's bytes, for `body` after it.
    pub(super) fn to_bytes(&self, body: &[u8]) -> [u8; HEADER_BYTES] {
        let [num_layers, num_kv_heads, head_dim] =
            [self.geometry.num_layers(), self.geometry.num_kv_heads(), self.geometry.head_dim()].map(narrow);
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&[self.level as u8, self.key.quality, self.key.side as u8]);
        let (rope_kind, rope) = RopeFields::to_bytes(self.rope.as_ref());
        bytes.extend_from_slice(&[self.geometry.dtype() as u8, MODEL_SET, rope_kind]);
        for field in [num_layers, num_kv_heads, head_dim, narrow(self.num_tokens), self.key.layer_group] {
            bytes.extend_from_slice(&field.to_le_bytes());
        }
        for field in [narrow(self.first_layer), narrow(self.num_layers), 0] {
            bytes.extend_from_slice(&field.to_le_bytes());
        }
        bytes.extend_from_slice(
            &u32::try_from(self.preamble_bytes).expect("a segment's bound fits 32 bits").to_le_bytes(),
        );
        bytes.extend_from_slice(&self.refined.to_le_bytes());
        bytes.extend_from_slice(&rope);
        for measure in [self.distortion.mse, self.distortion.max_error, self.distortion.max_head_error_norm] {
            bytes.extend_from_slice(&measure.to_le_bytes());
        }
        bytes.extend_from_slice(&(self.encoded_bytes as u64).to_le_bytes());
        bytes.extend_from_slice(&checksum(&bytes, body).to_le_bytes());
        let mut header = [0; HEADER_BYTES];
        header.copy_from_slice(&bytes);
        header
    }

    /// Name inside its chunk.
    pub fn key(&self) -> SegmentKey {
        self.key
    }

    /// Shape of each token's KV in the chunk.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Tokens of the chunk.
    pub fn num_tokens(&self) -> usize {
        self.num_tokens
    }

    /// First model layer held.
    pub fn first_layer(&self) -> usize {
        self.first_layer
    }

    /// Model layers held, from [`Self::first_layer`] on.
    pub fn num_layers(&self) -> usize {
        self.num_layers
    }

    /// Level that it was encoded at.
    pub fn level(&self) -> Level {
        self.level
    }

    /// Error of the decoded elements, measured by the encoder.
    pub fn distortion(&self) -> Distortion {
        self.distortion
    }

    /// Bytes of the whole segment.
    pub fn encoded_bytes(&self) -> usize {
        self.encoded_bytes
    }

    /// Whether this refines a segment: it is of the same planes, encoded in the same way, and made for that very one.
    pub(crate) fn refines(&self, below: &Self) -> bool {
        let planes = |header: &Self| {
            let SegmentHeader { key, geometry, num_tokens, first_layer, num_layers, level, rope, .. } = *header;
            (
                (key.layer_group, key.side),
                geometry,
                num_tokens,
                first_layer..first_layer.saturating_add(num_layers),
                level,
                rope,
            )
        };
        planes(self) == planes(below) && (self.refined == 0 || self.refined == below.checksum)
    }

    /// Tiles held: one per layer and kv head.
    pub(crate) fn num_tiles(&self) -> usize {
        self.num_layers.saturating_mul(self.geometry.num_kv_heads())
    }
}

/// Checks magic, version and length, and gives the fields after the version.
fn fields_of(bytes: &[u8]) -> Result<Cursor<'_>> {
    let mut fields = Cursor::new(bytes, 0).split(HEADER_BYTES, "a segment's header")?;
    let magic = fields.array::<4>("magic")?;
    if magic != MAGIC {
        return Err(Error::corrupt(0, format!("magic {magic:02x?} where a segment has {MAGIC:02x?}")));
    }
    known("segment version", fields.u16("version")?, |version| (version == VERSION).then_some(()))?;
    let stated = stated_bytes(fields.clone())?;
    if stated != bytes.len() as u64 {
        return Err(fields.corrupt(format!("a segment of {stated} bytes in {} bytes", bytes.len())));
    }
    Ok(fields)
}

/// The length field, which lies right before the checksum.
fn stated_bytes(mut fields: Cursor<'_>) -> Result<u64> {
    let length_offset = CHECKED_BYTES.saturating_sub(8);
    fields.take(length_offset.saturating_sub(fields.offset()), "header fields")?;
    fields.u64("length")
}

/// Checks the checksum over all bytes but itself.
///
/// # Errors
/// As for the start of the header, and `Corrupt` when the checksum differs.
pub(super) fn check_checksum(bytes: &[u8]) -> Result<()> {
    fields_of(bytes)?;
    let mut cursor = Cursor::new(bytes, 0);
    let checked = cursor.take(CHECKED_BYTES, "header fields")?;
    let stored = cursor.u64("checksum")?;
    let computed = checksum(checked, cursor.take_rest());
    if stored != computed {
        return Err(Error::corrupt(CHECKED_BYTES, format!("checksum {stored:016x}, computed {computed:016x}")));
    }
    Ok(())
}

/// xxh3-64 of the header's fields before the checksum and of everything after it.
fn checksum(fields: &[u8], body: &[u8]) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(fields);
    hash.update(body);
    hash.digest()
}

/// The meaning of a code, or `Incompatible` with its value.
fn known<C: Copy + std::fmt::Display, T>(what: &str, code: C, meaning: impl FnOnce(C) -> Option<T>) -> Result<T> {
    meaning(code).ok_or_else(|| Error::Incompatible(format!("{what} {code} is not known to this build")))
}

fn side_from_code(code: u8) -> Option<Side> {
    Side::BOTH.into_iter().find(|&side| side as u8 == code)
}

fn read_geometry(fields: &mut Cursor<'_>, dtype: Dtype) -> Result<Geometry> {
    let offset = fields.offset();
    let [num_layers, num_kv_heads, head_dim] =
        [fields.u16("layers")?, fields.u16("kv heads")?, fields.u16("head dimension")?].map(u32::from);
    Geometry::new(num_layers, num_kv_heads, head_dim, dtype).map_err(|error| Error::corrupt(offset, error.to_string()))
}

fn read_distortion(fields: &mut Cursor<'_>) -> Result<Distortion> {
    let [mse, max_error, max_head_error_norm] =
        [fields.f64("MSE")?, fields.f64("maximum error")?, fields.f64("head error norm")?];
    if [mse, max_error, max_head_error_norm].iter().any(|measure| !(measure.is_finite() && *measure >= 0.0)) {
        return Err(fields.corrupt(format!("distortion {mse}, {max_error}, {max_head_error_norm}")));
    }
    Ok(Distortion { mse, max_error, max_head_error_norm })
}

/// A field of 16 bits.
fn narrow(field: usize) -> u16 {
    u16::try_from(field).expect("limits of geometry and chunk fit 16 bits")
}
