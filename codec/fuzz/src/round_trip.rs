//! Chunks of any shape and content: encoders refuse them or keep what each level promises.

use arbitrary::{Arbitrary, Unstructured};
use half::{bf16, f16};
use kvdepot_codec::{
    Codec, Dtype, EncodeOptions, ErrorKind, Geometry, Isa, KvChunk, Level, Rope, RopeScaling, Segment, Side, bounds,
    error_bound, verify,
};

/// Most elements of a chunk, for speed.
const MAX_ELEMENTS: usize = 2_500;
const DTYPES: [Dtype; 3] = [Dtype::Bf16, Dtype::F16, Dtype::F32];
/// Bytes of a place and the bits that are put there.
const OVERRIDE_BYTES: usize = 6;

/// The fixed part of an input: shape, options, and how elements are made of the rest.
#[derive(Debug, Arbitrary)]
struct Case {
    num_layers: u8,
    num_kv_heads: u8,
    head_dim: u8,
    num_tokens: u8,
    dtype: u8,
    layers_per_group: u8,
    exact_tokens: u8,
    first_position: u64,
    theta: f64,
    llama3: bool,
    /// Factor, low and high frequency factor, original context.
    scaling: [f64; 4],
    fill: u8,
    seed: u8,
    /// Size of the means of channels, and of what is around them.
    mean: f32,
    spread: f32,
}

/// Encodes a chunk at every level on every instruction set, and decodes it.
pub fn round_trip(input: &[u8]) {
    let mut rest = Unstructured::new(input);
    let Ok(case) = Case::arbitrary(&mut rest) else { return };
    let chunk = case.chunk(rest.take_rest());
    for level in Level::ALL {
        let options = case.options(level);
        let segments = Codec::on(Isa::SCALAR).encode(&chunk, &options);
        for isa in others() {
            assert!(Codec::on(isa).encode(&chunk, &options) == segments, "{level} on {isa} gives other segments");
        }
        match segments {
            Ok(segments) => check(&chunk, &options, &segments),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Invalid);
                let rope_refused = level.needs_rope() && case.rope().check().is_err();
                assert!(!level.is_lossless() && (rope_refused || !all_finite(&chunk)), "{level}: {error}");
            }
        }
    }
}

fn others() -> impl Iterator<Item = Isa> {
    Isa::available().into_iter().filter(|&isa| isa != Isa::SCALAR)
}

impl Case {
    /// Theta or a factor between 0 and 1, which would be refused, stands for its inverse.
    fn rope(&self) -> Rope {
        let above_one = |number: f64| if number > 0.0 && number < 1.0 { number.recip() } else { number };
        let [factor, low_freq_factor, high_freq_factor, original_context] = self.scaling;
        let factor = above_one(factor);
        let llama3 = RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context };
        Rope { theta: above_one(self.theta), scaling: if self.llama3 { llama3 } else { RopeScaling::None } }
    }

    fn options(&self, level: Level) -> EncodeOptions {
        EncodeOptions {
            layers_per_group: u16::from(self.layers_per_group % 5),
            exact_tokens: u16::from(self.exact_tokens),
            ..EncodeOptions::new(level).at(self.rope(), self.first_position)
        }
    }

    fn geometry(&self) -> Geometry {
        // From 10 layers on, Q2 has other numbers of bins.
        let num_layers = if self.num_layers == u8::MAX { 11 } else { 1 + self.num_layers % 3 };
        let [num_layers, num_kv_heads, head_dim] =
            [num_layers, 1 + self.num_kv_heads % 4, 1 + self.head_dim % 72].map(u32::from);
        let dtype = DTYPES[usize::from(self.dtype) % DTYPES.len()];
        Geometry::new(num_layers, num_kv_heads, head_dim, dtype).expect("a small geometry")
    }

    fn chunk(&self, rest: &[u8]) -> KvChunk {
        let geometry = self.geometry();
        let token_elements = 2 * geometry.num_layers() * geometry.channels();
        let num_tokens = (1 + usize::from(self.num_tokens % 100)).min(MAX_ELEMENTS / token_elements).max(1);
        let mut bytes = match self.fill % 3 {
            0 => rest.iter().copied().chain([0]).cycle().take(geometry.kv_bytes(num_tokens)).collect(),
            _ => self.noise(geometry, num_tokens * token_elements),
        };
        if !self.fill.is_multiple_of(3) {
            put_overrides(geometry.dtype(), self.fill % 3 == 1, rest, &mut bytes);
        }
        KvChunk::from_bytes(geometry, num_tokens, bytes).expect("bytes of this geometry")
    }

    /// Elements about the means of their channels.
    fn noise(&self, geometry: Geometry, num_elements: usize) -> Vec<u8> {
        let channels = geometry.channels() as u64;
        let element = |place: u64| {
            let channel = place % channels;
            let mean = self.mean * part(mix(self.seed, channel));
            let spread = self.spread / (1u32 << (mix(self.seed, !channel) % 8)) as f32;
            store(geometry.dtype(), mean + spread * part(mix(self.seed, place << 20)))
        };
        (0..num_elements as u64).flat_map(element).collect()
    }
}

/// Puts bits wherever the input says so.
fn put_overrides(dtype: Dtype, any_bits: bool, overrides: &[u8], bytes: &mut [u8]) {
    let num_elements = bytes.len() / dtype.bytes();
    for entry in overrides.chunks_exact(OVERRIDE_BYTES) {
        let place = usize::from(u16::from_le_bytes([entry[0], entry[1]])) % num_elements;
        let element = &mut bytes[place * dtype.bytes()..][..dtype.bytes()];
        element.copy_from_slice(&entry[OVERRIDE_BYTES - dtype.bytes()..]);
        if !any_bits && !load(dtype, element).is_finite() {
            element[dtype.bytes() - 1] ^= 1 << 5;
        }
    }
}

/// A number of -1 to 1.
fn part(hash: u64) -> f32 {
    (hash >> 40) as f32 / (1u32 << 23) as f32 - 1.0
}

/// Source: SplitMix64.
fn mix(seed: u8, place: u64) -> u64 {
    let mut x = place.wrapping_add(u64::from(seed) << 56).wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn store(dtype: Dtype, value: f32) -> Vec<u8> {
    match dtype {
        Dtype::Bf16 => bf16::from_f32(value).to_le_bytes().to_vec(),
        Dtype::F16 => f16::from_f32(value).to_le_bytes().to_vec(),
        Dtype::F32 => value.to_le_bytes().to_vec(),
    }
}

fn load(dtype: Dtype, element: &[u8]) -> f32 {
    let two = || [element[0], element[1]];
    match dtype {
        Dtype::Bf16 => bf16::from_le_bytes(two()).to_f32(),
        Dtype::F16 => f16::from_le_bytes(two()).to_f32(),
        Dtype::F32 => f32::from_le_bytes([element[0], element[1], element[2], element[3]]),
    }
}

fn all_finite(chunk: &KvChunk) -> bool {
    let dtype = chunk.geometry().dtype();
    chunk.bytes().chunks_exact(dtype.bytes()).all(|element| load(dtype, element).is_finite())
}

/// Checks segments of a chunk: keys, sizes, equal elements everywhere, and what the level promises.
fn check(chunk: &KvChunk, options: &EncodeOptions, segments: &[Segment]) {
    let (geometry, num_tokens, level) = (*chunk.geometry(), chunk.num_tokens(), options.level);
    assert!(segments.iter().map(|segment| segment.key).eq(options.segment_keys(&geometry)));
    let bound = bounds::segment_bytes(&geometry, num_tokens, options);
    assert!(segments.iter().all(|segment| segment.bytes.len() <= bound), "{level} exceeds {bound} bytes");
    for quality in 0..Level::MAX_QUALITIES {
        let present = segments.iter().filter(|segment| segment.key.quality <= quality);
        let present: Vec<&[u8]> = present.map(|segment| segment.bytes.as_slice()).collect();
        let decoded =
            Codec::on(Isa::SCALAR).decode(geometry, num_tokens, present.iter().copied()).expect("own segments");
        for isa in others() {
            let other = Codec::on(isa).decode(geometry, num_tokens, present.iter().copied()).expect("own segments");
            assert!(other == decoded, "{level} on {isa} gives other elements");
        }
        for segment in segments.iter().filter(|segment| segment.key.quality == quality) {
            check_error(chunk, &decoded, segment);
        }
    }
}

/// Checks the error of a segment's planes, decoded with all quality layers up to it.
fn check_error(chunk: &KvChunk, decoded: &KvChunk, segment: &Segment) {
    let header = verify(&segment.bytes).expect("own segment");
    let mut layers = header.first_layer()..header.first_layer() + header.num_layers();
    let side = segment.key.side;
    if header.level().is_lossless() {
        assert!(layers.all(|layer| chunk.plane(layer, side) == decoded.plane(layer, side)));
        assert_eq!(header.distortion(), kvdepot_codec::Distortion::default());
        return;
    }
    let largest = layers.map(|layer| largest_error(chunk, decoded, layer, side)).fold(0.0, f64::max);
    assert!(largest.is_finite(), "{} gives elements back that are not finite", header.level());
    if header.level() == Level::Q1 {
        let bound = error_bound(&segment.bytes).expect("own segment").expect("q1 has a bound");
        assert!(largest <= bound, "an error of {largest} where {bound} is stated");
    }
    let stated = header.distortion().max_error;
    let largest = f64::from((largest as f32).min(f32::MAX));
    assert!(stated == largest, "{} states an error of {stated}, which is {largest}", header.level());
}

/// The largest error of an element, infinite where that is no number.
fn largest_error(chunk: &KvChunk, decoded: &KvChunk, layer: usize, side: Side) -> f64 {
    let dtype = chunk.geometry().dtype();
    let [exact, decoded] = [chunk, decoded].map(|chunk| {
        chunk.plane(layer, side).chunks_exact(dtype.bytes()).map(move |element| f64::from(load(dtype, element)))
    });
    let errors = exact.zip(decoded).map(|(exact, decoded)| (decoded - exact).abs());
    errors.map(|error| if error.is_nan() { f64::INFINITY } else { error }).fold(0.0, f64::max)
}
