//! `kvdepot codec inspect`.

mod heat;
mod palette;
mod rows;

use std::{collections::BTreeMap, fmt, path::PathBuf};

use clap::Args;
use kvdepot_client::{Result, files};
use kvdepot_codec::{
    Origin, SegmentHeader,
    container::{Container, Description},
};
use serde::Serialize;

use super::{bits_per_value, in_file};
use crate::cli::text;
use heat::HeatMap;
use palette::Palette;
use rows::{LayerRow, layer_rows};

#[derive(Args)]
pub(in crate::cli) struct InspectArgs {
    /// Show the error of every chunk by itself too
    #[arg(long)]
    by_chunk: bool,
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
    /// The rows of each chunk, where asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    by_chunk: Option<Vec<Vec<LayerRow>>>,
    #[serde(skip)]
    palette: Palette,
}

impl InspectArgs {
    pub(super) fn run(&self) -> Result<Inspection> {
        let bytes = files::read(&self.encoded)?;
        let container = in_file(&self.encoded, Container::parse(&bytes))?;
        let headers = in_file(&self.encoded, headers(&container))?;
        Ok(Inspection::new(container.description(), bytes.len() as u64, &headers, self.by_chunk))
    }
}

/// Verifies every segment and gives what it says about itself, by chunk.
fn headers(container: &Container<'_>) -> kvdepot_codec::Result<Vec<Vec<SegmentHeader>>> {
    let chunks = 0..container.description().num_chunks();
    chunks.map(|chunk| container.segments(chunk).map(|(_, bytes)| kvdepot_codec::verify(bytes)).collect()).collect()
}

impl Inspection {
    fn new(description: &Description, encoded_bytes: u64, headers: &[Vec<SegmentHeader>], by_chunk: bool) -> Self {
        let Description { geometry, num_tokens, chunk_tokens, origin } = description;
        let raw_kv_bytes = geometry.kv_bytes(*num_tokens) as u64;
        let mut levels: Vec<_> = headers.iter().flatten().map(|header| header.level().name()).collect();
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
            layers: layer_rows(geometry, headers.iter().flatten()),
            by_chunk: by_chunk.then(|| headers.iter().map(|headers| layer_rows(geometry, headers)).collect()),
            palette: Palette::of_stdout(),
        }
    }

    /// The error of all chunks together, then of each where asked for.
    fn heat_map(&self) -> HeatMap<'_> {
        let all = std::iter::once((String::new(), &self.layers[..]));
        let chunks = self.by_chunk.iter().flatten().enumerate();
        let chunks = chunks.map(|(idx, rows)| (format!("chunk {idx}"), &rows[..]));
        HeatMap { num_layers: self.num_layers, palette: self.palette, blocks: all.chain(chunks).collect() }
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
        rows::table(&self.layers).fmt(f)?;
        write!(f, "\n\n{}", self.heat_map())
    }
}
