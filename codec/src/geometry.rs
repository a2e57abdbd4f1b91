//! Shape of a KV cache.

use crate::{Error, Result};

/// Element type of K and V.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Dtype {
    /// bfloat16.
    Bf16 = 1,
    /// IEEE half precision.
    F16 = 2,
    /// IEEE single precision.
    F32 = 3,
}

impl Dtype {
    /// Bytes of one element.
    pub const fn bytes(self) -> usize {
        match self {
            Self::Bf16 | Self::F16 => 2,
            Self::F32 => 4,
        }
    }

    /// The lower-case name: `bf16`, `f16` or `f32`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
            Self::F32 => "f32",
        }
    }

    /// The type whose discriminant is `code`, if there is one.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Bf16),
            2 => Some(Self::F16),
            3 => Some(Self::F32),
            _ => None,
        }
    }
}

impl std::fmt::Display for Dtype {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Dtype {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        [Self::Bf16, Self::F16, Self::F32]
            .into_iter()
            .find(|dtype| dtype.name() == name)
            .ok_or_else(|| Error::Invalid(format!("unknown dtype {name:?}: use bf16, f16 or f32")))
    }
}

/// Keys or values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Side {
    /// Keys, after RoPE at absolute positions.
    K = 0,
    /// Values.
    V = 1,
}

impl Side {
    /// Both sides, in the order of the canonical layout.
    pub const BOTH: [Self; 2] = [Self::K, Self::V];
}

/// Shape of one token's KV over all layers: everything but the number of tokens.
///
/// A value of this type is within the limits below, so that products of its fields and a chunk's tokens fit `usize`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Geometry {
    num_layers: u32,
    num_kv_heads: u32,
    head_dim: u32,
    dtype: Dtype,
}

impl Geometry {
    /// Most layers a geometry may have.
    pub const MAX_LAYERS: u32 = 1024;
    /// Most KV heads a geometry may have.
    pub const MAX_KV_HEADS: u32 = 1024;
    /// Largest head dimension.
    pub const MAX_HEAD_DIM: u32 = 1024;

    /// Checks the limits and gives the geometry.
    ///
    /// # Errors
    /// `Invalid` when a field is zero or above its limit.
    pub fn new(num_layers: u32, num_kv_heads: u32, head_dim: u32, dtype: Dtype) -> Result<Self> {
        for (name, value, limit) in [
            ("num_layers", num_layers, Self::MAX_LAYERS),
            ("num_kv_heads", num_kv_heads, Self::MAX_KV_HEADS),
            ("head_dim", head_dim, Self::MAX_HEAD_DIM),
        ] {
            if value == 0 || value > limit {
                return Err(Error::Invalid(format!("{name} {value} is outside 1..={limit}")));
            }
        }
        Ok(Self { num_layers, num_kv_heads, head_dim, dtype })
    }

    /// Model layers.
    pub const fn num_layers(&self) -> usize {
        self.num_layers as usize
    }

    /// KV heads per layer.
    pub const fn num_kv_heads(&self) -> usize {
        self.num_kv_heads as usize
    }

    /// Elements per head.
    pub const fn head_dim(&self) -> usize {
        self.head_dim as usize
    }

    /// Element type.
    pub const fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Channels of one side of one layer: `num_kv_heads * head_dim`.
    pub const fn channels(&self) -> usize {
        self.num_kv_heads() * self.head_dim()
    }

    /// Bytes of one side of one layer over `num_tokens` tokens.
    pub const fn plane_bytes(&self, num_tokens: usize) -> usize {
        num_tokens * self.channels() * self.dtype.bytes()
    }

    /// Bytes of K and V over all layers and `num_tokens` tokens.
    pub const fn kv_bytes(&self, num_tokens: usize) -> usize {
        2 * self.num_layers() * self.plane_bytes(num_tokens)
    }
}
