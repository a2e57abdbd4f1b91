//! The picture: KL divergence over bits per value, as SVG whose text is drawn by whoever shows it.

#[cfg(test)]
mod tests;

use std::path::Path;

use kvdepot_client::files;
use plotters::chart::ChartContext;
use plotters::coord::Shift;
use plotters::coord::combinators::LogCoord;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

use super::labels::{self, Pixels};
use super::report::{Evaluation, Row};
use super::scheme::Kind;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Chart<'a> = ChartContext<'a, SVGBackend<'a>, Cartesian2d<RangedCoordf64, LogCoord<f64>>>;

const SIZE: (u32, u32) = (880, 540);
const FONT: &str = "sans-serif";
const TEXT: RGBColor = RGBColor(40, 44, 52);
const GRID: RGBColor = RGBColor(225, 228, 232);
const BASELINES: RGBColor = RGBColor(120, 124, 132);
/// Colours of the families of levels, in order (Okabe and Ito, told apart by the colour-blind).
const FAMILIES: [RGBColor; 5] = [
    RGBColor(0, 158, 115),
    RGBColor(0, 114, 178),
    RGBColor(204, 121, 167),
    RGBColor(213, 94, 0),
    RGBColor(230, 159, 0),
];

/// Writes the picture.
pub(super) fn write(path: &Path, evaluation: &Evaluation) -> anyhow::Result<()> {
    let svg = draw(&evaluation.rows, evaluation.context_tokens)?;
    files::write_whole(path, |part| std::fs::write(part, svg).map_err(files::unwritable(path)))?;
    Ok(())
}

fn draw(rows: &[Row], context_tokens: usize) -> anyhow::Result<String> {
    let mut svg = String::new();
    let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let bounds = Bounds::of(rows);
    let mut chart = frame(&area, context_tokens, bounds)?;
    let points: Vec<_> = rows.iter().map(|row| chart.backend_coord(&bounds.point(row))).collect();
    let names: Vec<_> = rows.iter().map(name).collect();
    let lines = lines(rows, &points);
    let marks = rows.iter().zip(labels::offsets(&points, &lines, &names)).zip(names);
    let marks: Vec<_> =
        marks.map(|((row, offset), name)| Mark { row, place: bounds.point(row), name, offset }).collect();
    let mut colours = FAMILIES.iter().cycle();
    for family in marks.chunk_by(|a, b| a.row.family == b.row.family) {
        match family[0].row.kind {
            Kind::Level => draw_levels(&mut chart, family, *colours.next().unwrap_or(&TEXT))?,
            Kind::Baseline => draw_baselines(&mut chart, family)?,
        }
    }
    area.present()?;
    drop((chart, area));
    Ok(svg)
}

/// Pieces of the lines that join the rows of a level.
fn lines(rows: &[Row], points: &[Pixels]) -> Vec<[Pixels; 2]> {
    let joined = |pair: &[Row]| pair[0].kind == Kind::Level && pair[0].family == pair[1].family;
    let pieces = rows.windows(2).zip(points.windows(2)).filter(|(pair, _)| joined(pair));
    pieces.map(|(_, ends)| [ends[0], ends[1]]).collect()
}

/// What the axes reach.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Bounds {
    max_bits: f64,
    /// Where a divergence of 0 is drawn, which has no place on a logarithmic axis.
    min_kl: f64,
    max_kl: f64,
}

impl Bounds {
    fn of(rows: &[Row]) -> Self {
        let max_bits = rows.iter().map(|row| row.bits_per_value).fold(1.0, f64::max) * 1.12;
        let logarithms: Vec<f64> = rows.iter().filter(|row| row.kl > 0.0).map(|row| row.kl.log10()).collect();
        let lowest = logarithms.iter().copied().reduce(f64::min).unwrap_or(-3.0);
        let highest = logarithms.iter().copied().reduce(f64::max).unwrap_or(-1.0);
        // A little room, so that nothing else lies where 0 does, and names fit above their points.
        Self { max_bits, min_kl: 10_f64.powf((lowest - 0.3).floor()), max_kl: 10_f64.powf(highest + 0.25) }
    }

    fn point(&self, row: &Row) -> (f64, f64) {
        (row.bits_per_value, row.kl.max(self.min_kl))
    }
}

fn frame<'a>(area: &Area<'a>, context_tokens: usize, bounds: Bounds) -> anyhow::Result<Chart<'a>> {
    let title = format!("Quality against size, over {context_tokens} tokens of context");
    let mut chart = ChartBuilder::on(area)
        .caption(title, (FONT, 20).into_font().color(&TEXT))
        .margin(18)
        .x_label_area_size(48)
        .y_label_area_size(72)
        .build_cartesian_2d(0.0..bounds.max_bits, (bounds.min_kl..bounds.max_kl).log_scale())?;
    chart
        .configure_mesh()
        .x_desc("bits per value, all bytes counted (16 when not encoded)")
        .y_desc("KL divergence from the exact cache, in nats")
        .axis_desc_style((FONT, 15).into_font().color(&TEXT))
        .label_style((FONT, 13).into_font().color(&TEXT))
        .x_labels(14)
        .x_label_formatter(&|bits| format!("{bits:.0}"))
        .y_label_formatter(&|kl| format!("{kl}"))
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .axis_style(TEXT)
        .draw()?;
    Ok(chart)
}

/// A row in the picture.
struct Mark<'a> {
    row: &'a Row,
    /// Bits and divergence.
    place: (f64, f64),
    name: String,
    /// Of the name from the place.
    offset: Pixels,
}

impl Mark<'_> {
    fn label(&self, colour: RGBColor) -> Text<'static, Pixels, String> {
        Text::new(self.name.clone(), self.offset, (FONT, 14).into_font().color(&colour))
    }
}

fn name(row: &Row) -> String {
    if row.kl > 0.0 { row.name.clone() } else { format!("{}, exact", row.name) }
}

/// The rows of one level as a line with a dot for each.
fn draw_levels(chart: &mut Chart<'_>, marks: &[Mark<'_>], colour: RGBColor) -> anyhow::Result<()> {
    chart.draw_series(LineSeries::new(marks.iter().map(|mark| mark.place), colour.stroke_width(2)))?;
    chart.draw_series(
        marks
            .iter()
            .map(|mark| EmptyElement::at(mark.place) + Circle::new((0, 0), 5, colour.filled()) + mark.label(colour)),
    )?;
    Ok(())
}

/// The rows of a baseline as crosses.
fn draw_baselines(chart: &mut Chart<'_>, marks: &[Mark<'_>]) -> anyhow::Result<()> {
    chart.draw_series(marks.iter().map(|mark| {
        let cross = Cross::new((0, 0), 5, BASELINES.stroke_width(2));
        EmptyElement::at(mark.place) + cross + mark.label(BASELINES)
    }))?;
    Ok(())
}
