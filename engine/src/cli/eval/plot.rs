//! The picture: KL divergence over bits per value, as SVG whose text is drawn by whoever shows it.

use std::path::Path;

use kvdepot_client::files;
use plotters::chart::ChartContext;
use plotters::coord::Shift;
use plotters::coord::combinators::LogCoord;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

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
    let mut colours = FAMILIES.iter().cycle();
    for family in rows.chunk_by(|a, b| a.family == b.family) {
        match family[0].kind {
            Kind::Level => draw_levels(&mut chart, family, bounds, *colours.next().unwrap_or(&TEXT))?,
            Kind::Baseline => draw_baselines(&mut chart, family, bounds)?,
        }
    }
    area.present()?;
    drop((chart, area));
    Ok(svg)
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

/// The rows of one level as a line with a dot for each.
fn draw_levels(chart: &mut Chart<'_>, rows: &[Row], bounds: Bounds, colour: RGBColor) -> anyhow::Result<()> {
    let points = rows.iter().map(|row| bounds.point(row));
    chart.draw_series(LineSeries::new(points, colour.stroke_width(2)))?;
    chart.draw_series(rows.iter().map(|row| {
        EmptyElement::at(bounds.point(row)) + Circle::new((0, 0), 5, colour.filled()) + label(row, colour)
    }))?;
    Ok(())
}

/// The rows of a baseline as crosses.
fn draw_baselines(chart: &mut Chart<'_>, rows: &[Row], bounds: Bounds) -> anyhow::Result<()> {
    chart.draw_series(rows.iter().map(|row| {
        let cross = Cross::new((0, 0), 5, BASELINES.stroke_width(2));
        EmptyElement::at(bounds.point(row)) + cross + label(row, BASELINES)
    }))?;
    Ok(())
}

/// The row's name, to the upper right of its point.
fn label(row: &Row, colour: RGBColor) -> Text<'static, (i32, i32), String> {
    let text = if row.kl > 0.0 { row.name.clone() } else { format!("{}, exact", row.name) };
    Text::new(text, (8, -18), (FONT, 14).into_font().color(&colour))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, family: &str, kind: Kind, bits_per_value: f64, kl: f64) -> Row {
        Row {
            name: name.to_owned(),
            family: family.to_owned(),
            kind,
            lossless: kl == 0.0,
            bits_per_value,
            ratio: 16.0 / bits_per_value,
            bytes: 1,
            perplexity: 10.0,
            kl,
            top1_agreement: 1.0,
            retrieval_accuracy: 1.0,
        }
    }

    fn rows() -> Vec<Row> {
        vec![
            row("q0", "q0", Kind::Level, 10.5, 0.0),
            row("q1", "q1", Kind::Level, 5.6, 0.0004),
            row("q2", "q2", Kind::Level, 4.06, 0.0117),
            row("q3:1", "q3", Kind::Level, 1.7, 0.09),
            row("q3:2", "q3", Kind::Level, 2.8, 0.02),
            row("q3:3", "q3", Kind::Level, 4.1, 0.009),
            row("cachegen-32", "cachegen", Kind::Baseline, 5.96, 0.022),
            row("cachegen-16", "cachegen", Kind::Baseline, 4.96, 0.051),
            row("int8", "int8", Kind::Baseline, 8.25, 0.0003),
        ]
    }

    #[test]
    fn axes_leave_a_place_for_nothing_and_room_for_names() {
        let bounds = Bounds::of(&rows());
        assert!((bounds.min_kl / 1e-4 - 1.0).abs() < 1e-9, "{bounds:?}");
        assert!(bounds.max_kl > 0.1 && bounds.max_kl < 0.3, "{bounds:?}");
        assert!(bounds.max_bits > 10.5);
        assert_eq!(bounds.point(&rows()[0]), (10.5, bounds.min_kl));
    }

    #[test]
    fn a_picture_without_losses_is_drawn_too() {
        let svg = draw(&rows()[..1], 768).unwrap();
        assert!(svg.contains("q0, exact"), "{svg}");
    }

    #[test]
    fn levels_of_one_family_are_joined_and_baselines_are_not() {
        let svg = draw(&rows(), 768).unwrap();
        assert_eq!(svg.matches("<circle").count(), 6);
        for row in rows() {
            assert!(svg.contains(&row.name), "{svg}");
        }
    }
}
