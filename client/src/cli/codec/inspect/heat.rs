//! The error by layer and side, as a heat map.

use std::fmt::{self, Write};

use super::palette::Palette;
use super::rows::LayerRow;

/// Columns that the cells of a line may take.
const LINE_CELLS: usize = 64;
/// Cells of the legend.
const LEGEND_CELLS: usize = 24;
/// Columns before the cells.
const LABEL_COLUMNS: usize = 13;

/// Rows of K and V, a cell per layer, for all chunks and for each.
pub(super) struct HeatMap<'a> {
    pub(super) num_layers: usize,
    pub(super) palette: Palette,
    /// Titles, empty for all chunks, and their rows.
    pub(super) blocks: Vec<(String, &'a [LayerRow])>,
}

/// The least and the greatest error above zero: colours follow the logarithm between them.
#[derive(Clone, Copy)]
struct Scale {
    least: f64,
    greatest: f64,
}

impl Scale {
    /// Nothing where no error is above zero.
    fn of<'a>(rows: impl Iterator<Item = &'a LayerRow>) -> Option<Self> {
        let errors: Vec<f64> = rows.map(LayerRow::error).filter(|error| *error > 0.0).collect();
        let greatest = errors.iter().copied().fold(0.0, f64::max);
        let least = errors.into_iter().fold(greatest, f64::min);
        (greatest > 0.0).then_some(Self { least, greatest })
    }

    /// Place of an error, from 0 to 1; nothing for none.
    fn heat(self, error: f64) -> Option<f64> {
        let span = (self.greatest / self.least).ln();
        (error > 0.0).then(|| if span > 0.0 { (error / self.least).ln() / span } else { 1.0 })
    }
}

impl HeatMap<'_> {
    /// Columns of a cell: two where all layers fit a line that way.
    fn cell_columns(&self) -> usize {
        if 2 * self.num_layers <= LINE_CELLS { 2 } else { 1 }
    }

    fn write_block(&self, f: &mut fmt::Formatter<'_>, rows: &[LayerRow], scale: Scale) -> fmt::Result {
        let mut lines: Vec<(u8, &str)> = rows.iter().map(|row| (row.quality, row.side)).collect();
        lines.sort_unstable();
        lines.dedup();
        let with_quality = lines.iter().any(|(quality, _)| *quality > 0);
        for (quality, side) in lines {
            let of_line = rows.iter().filter(|row| (row.quality, row.side) == (quality, side));
            let mut label = side.to_owned();
            if with_quality {
                write!(label, ", quality {quality}")?;
            }
            self.write_line(f, &label, &errors_by_layer(self.num_layers, of_line), scale)?;
        }
        Ok(())
    }

    /// A cell per layer, in as many lines as it takes.
    fn write_line(&self, f: &mut fmt::Formatter<'_>, label: &str, errors: &[Option<f64>], scale: Scale) -> fmt::Result {
        let cell_columns = self.cell_columns();
        for (idx, errors) in errors.chunks(LINE_CELLS / cell_columns).enumerate() {
            write!(f, "{:LABEL_COLUMNS$}", if idx == 0 { label } else { "" })?;
            for error in errors {
                match error {
                    Some(error) => f.write_str(&self.palette.cell(scale.heat(*error), cell_columns))?,
                    None => write!(f, "{:cell_columns$}", "?")?,
                }
            }
            writeln!(f)?;
        }
        Ok(())
    }

    /// Numbers of every eighth layer, above the cells.
    fn write_ruler(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cell_columns = self.cell_columns();
        write!(f, "{:LABEL_COLUMNS$}", "layer")?;
        for layer in (0..self.num_layers.min(LINE_CELLS / cell_columns)).step_by(8) {
            write!(f, "{layer:<width$}", width = 8 * cell_columns)?;
        }
        writeln!(f)
    }

    fn write_legend(&self, f: &mut fmt::Formatter<'_>, scale: Scale) -> fmt::Result {
        write!(f, "{:LABEL_COLUMNS$}{:.2e} ", "", scale.least)?;
        for idx in 0..LEGEND_CELLS {
            f.write_str(&self.palette.cell(Some(idx as f64 / (LEGEND_CELLS - 1) as f64), 1))?;
        }
        writeln!(f, " {:.2e}", scale.greatest)
    }
}

/// The error of each layer; nothing for one that no row covers.
fn errors_by_layer<'a>(num_layers: usize, rows: impl Iterator<Item = &'a LayerRow>) -> Vec<Option<f64>> {
    let mut errors = vec![None; num_layers];
    for row in rows {
        errors.iter_mut().skip(row.first_layer).take(row.num_layers).for_each(|error| *error = Some(row.error()));
    }
    errors
}

impl fmt::Display for HeatMap<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(scale) = Scale::of(self.blocks.iter().flat_map(|(_, rows)| rows.iter())) else {
            return writeln!(f, "no error: every bit is kept");
        };
        writeln!(f, "root mean squared error")?;
        self.write_ruler(f)?;
        for (title, rows) in &self.blocks {
            if !title.is_empty() {
                writeln!(f, "{title}")?;
            }
            self.write_block(f, rows, scale)?;
        }
        self.write_legend(f, scale)
    }
}

#[cfg(test)]
mod tests;
