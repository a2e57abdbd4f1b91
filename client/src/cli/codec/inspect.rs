//! `kvdepot codec inspect`.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use clap::Args;
use kvdepot_client::{Result, files};
use kvdepot_codec::{
    Geometry, Origin, SegmentHeader, SegmentKey, Side,
    container::{Container, Description},
};
use serde::Serialize;

use super::{bits_per_value, in_file};
use crate::cli::text;

#[derive(Args)]
pub(in crate::cli) struct InspectArgs {
    /// Encoded file
    #[arg(value_name = "IN.kvd")]
    encoded: PathBuf,
}

#[derive(Serialize)]
pub(in crate::cli) struct Inspection {
    levels: Vec<&'static str>,
    dtype: &'static str,
    num_layers: usize,
    num_kv_heads: usize,
    head_dim: usize,
    tokens: usize,
    chunk_tokens: usize,
    chunks: usize,
    rope_theta: f64,
    first_position: u64,
    metadata: BTreeMap<String, String>,
    raw_kv_bytes: u64,
    encoded_bytes: u64,
    ratio: f64,
    bits_per_value: f64,
    layers: Vec<LayerRow>,
}

/// The segments of one quality layer of one side of one run of layers, over all chunks.
#[derive(Serialize, Default)]
struct LayerRow {
    first_layer: usize,
    num_layers: usize,
    side: &'static str,
    /// 0 is the base; errors are those with all quality layers up to this one.
    quality: u8,
    bytes: u64,
    bits_per_value: f64,
    mse: f64,
    max_error: f64,
    max_head_error_norm: f64,
    #[serde(skip)]
    num_values: u64,
}

impl InspectArgs {
    pub(super) fn run(&self) -> Result<Inspection> {
        let bytes = files::read(&self.encoded)?;
        let container = in_file(&self.encoded, Container::parse(&bytes))?;
        let headers = in_file(&self.encoded, headers(&container))?;
        Ok(Inspection::new(container.description(), bytes.len() as u64, &headers))
    }
}

/// Verifies every segment and gives what it says about itself.
fn headers(container: &Container<'_>) -> kvdepot_codec::Result<Vec<SegmentHeader>> {
    let chunks = 0..container.description().num_chunks();
    chunks.flat_map(|chunk| container.segments(chunk)).map(|(_, bytes)| kvdepot_codec::verify(bytes)).collect()
}

impl Inspection {
    fn new(description: &Description, encoded_bytes: u64, headers: &[SegmentHeader]) -> Self {
        let Description { geometry, num_tokens, chunk_tokens, origin } = description;
        let raw_kv_bytes = geometry.kv_bytes(*num_tokens) as u64;
        let mut levels: Vec<_> = headers.iter().map(|header| header.level().name()).collect();
        levels.sort_unstable();
        levels.dedup();
        Self {
            levels,
            dtype: geometry.dtype().name(),
            num_layers: geometry.num_layers(),
            num_kv_heads: geometry.num_kv_heads(),
            head_dim: geometry.head_dim(),
            tokens: *num_tokens,
            chunk_tokens: *chunk_tokens,
            chunks: description.num_chunks(),
            rope_theta: origin.rope_theta,
            first_position: origin.first_position,
            metadata: origin.metadata.clone(),
            raw_kv_bytes,
            encoded_bytes,
            ratio: text::ratio(raw_kv_bytes, encoded_bytes),
            bits_per_value: bits_per_value(encoded_bytes, raw_kv_bytes / geometry.dtype().bytes() as u64),
            layers: layer_rows(geometry, headers),
        }
    }
}

fn layer_rows(geometry: &Geometry, headers: &[SegmentHeader]) -> Vec<LayerRow> {
    let mut rows = BTreeMap::<_, LayerRow>::new();
    for header in headers {
        let (first_layer, num_layers) = (header.first_layer(), header.num_layers());
        let SegmentKey { side, quality, .. } = header.key();
        let row = rows.entry((first_layer, side, num_layers, quality)).or_insert_with(|| LayerRow {
            first_layer,
            num_layers,
            side: side_name(side),
            quality,
            ..LayerRow::default()
        });
        row.add(header, (num_layers * header.num_tokens() * geometry.channels()) as u64);
    }
    rows.into_values().map(LayerRow::finished).collect()
}

impl LayerRow {
    /// Counts a segment in; `mse` is a sum of squares until [`Self::finished`].
    fn add(&mut self, header: &SegmentHeader, num_values: u64) {
        let distortion = header.distortion();
        self.bytes += header.encoded_bytes() as u64;
        self.num_values += num_values;
        self.mse += distortion.mse * num_values as f64;
        self.max_error = self.max_error.max(distortion.max_error);
        self.max_head_error_norm = self.max_head_error_norm.max(distortion.max_head_error_norm);
    }

    fn finished(self) -> Self {
        let bits_per_value = bits_per_value(self.bytes, self.num_values);
        Self { bits_per_value, mse: self.mse / self.num_values.max(1) as f64, ..self }
    }
}

fn side_name(side: Side) -> &'static str {
    match side {
        Side::K => "k",
        Side::V => "v",
    }
}

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { dtype, num_layers, num_kv_heads, head_dim, tokens, chunk_tokens, chunks, .. } = self;
        writeln!(f, "levels       {}", self.levels.join(", "))?;
        writeln!(f, "geometry     {num_layers} layers, {num_kv_heads} kv heads of {head_dim}, {dtype}")?;
        writeln!(f, "tokens       {tokens} from position {}, {chunks} chunks of {chunk_tokens}", self.first_position)?;
        writeln!(f, "rope_theta   {}", self.rope_theta)?;
        for (name, value) in &self.metadata {
            match name.as_str() {
                Origin::ROPE_SCALING => writeln!(f, "{name} {value}")?,
                _ => writeln!(f, "metadata     {name}, {} bytes", value.len())?,
            }
        }
        let (raw, encoded) = (text::bytes(self.raw_kv_bytes), text::bytes(self.encoded_bytes));
        writeln!(
            f,
            "size         {encoded} of {raw}: {:.3}x smaller, {:.3} bits per value",
            self.ratio, self.bits_per_value
        )?;
        let rows = self.layers.iter().map(LayerRow::cells);
        text::table(&["LAYER", "SIDE", ">QUALITY", ">BYTES", ">BITS/VALUE", ">MSE", ">MAX ERROR", ">HEAD ERROR"], rows)
            .fmt(f)
    }
}

impl LayerRow {
    fn cells(&self) -> [String; 8] {
        let layers = match self.num_layers {
            1 => self.first_layer.to_string(),
            num_layers => format!("{}..{}", self.first_layer, self.first_layer + num_layers),
        };
        [
            layers,
            self.side.to_owned(),
            self.quality.to_string(),
            self.bytes.to_string(),
            format!("{:.3}", self.bits_per_value),
            format!("{:.3e}", self.mse),
            format!("{:.3e}", self.max_error),
            format!("{:.3e}", self.max_head_error_norm),
        ]
    }
}
