//! Bytes and error by layer, side and quality layer.

use std::collections::BTreeMap;

use comfy_table::Table;
use kvdepot_codec::{Geometry, SegmentHeader, Side};
use serde::Serialize;

use crate::cli::{codec::bits_per_value, text};

/// The segments of one quality layer of one side of one run of layers.
#[derive(Serialize, Default)]
pub(super) struct LayerRow {
    pub(super) first_layer: usize,
    pub(super) num_layers: usize,
    pub(super) side: &'static str,
    pub(super) quality: u8,
    bytes: u64,
    bits_per_value: f64,
    mse: f64,
    max_error: f64,
    max_head_error_norm: f64,
    #[serde(skip)]
    num_values: u64,
}

/// One row per run of layers, side and quality layer, over all of `headers`.
pub(super) fn layer_rows<'a>(
    geometry: &Geometry,
    headers: impl IntoIterator<Item = &'a SegmentHeader>,
) -> Vec<LayerRow> {
    let mut rows = BTreeMap::<_, LayerRow>::new();
    for header in headers {
        let key = header.key();
        let place = (header.first_layer(), key.side, key.quality, header.num_layers());
        let row = rows.entry(place).or_insert_with(|| LayerRow {
            first_layer: header.first_layer(),
            num_layers: header.num_layers(),
            side: side_name(key.side),
            quality: key.quality,
            ..LayerRow::default()
        });
        row.add(header, (header.num_layers() * header.num_tokens() * geometry.channels()) as u64);
    }
    rows.into_values().map(LayerRow::finished).collect()
}

impl LayerRow {
    /// Root of the mean squared error.
    pub(super) fn error(&self) -> f64 {
        self.mse.sqrt()
    }

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

    fn layers(&self) -> String {
        match self.num_layers {
            1 => self.first_layer.to_string(),
            num_layers => format!("{}..{}", self.first_layer, self.first_layer + num_layers),
        }
    }

    fn cells(&self, with_quality: bool) -> Vec<String> {
        let quality = with_quality.then(|| self.quality.to_string());
        let numbers = [
            self.bytes.to_string(),
            format!("{:.3}", self.bits_per_value),
            format!("{:.3e}", self.mse),
            format!("{:.3e}", self.max_error),
            format!("{:.3e}", self.max_head_error_norm),
        ];
        [self.layers(), self.side.to_owned()].into_iter().chain(quality).chain(numbers).collect()
    }
}

/// A row per layer and side, and per quality layer where there are several.
pub(super) fn table(rows: &[LayerRow]) -> Table {
    let with_quality = rows.iter().any(|row| row.quality > 0);
    let mut columns = vec!["LAYER", "SIDE", ">BYTES", ">BITS/VALUE", ">MSE", ">MAX ERROR", ">HEAD ERROR"];
    if with_quality {
        columns.insert(2, ">QUALITY");
    }
    text::table(&columns, rows.iter().map(|row| row.cells(with_quality)))
}

fn side_name(side: Side) -> &'static str {
    match side {
        Side::K => "k",
        Side::V => "v",
    }
}

#[cfg(test)]
impl LayerRow {
    /// A row of one layer that has this error.
    pub(super) fn of_error(first_layer: usize, side: &'static str, mse: f64) -> Self {
        Self { first_layer, num_layers: 1, side, mse, ..Self::default() }
    }
}
