//! The picture: time to first token of each way over each trace.

use std::path::Path;

use kvdepot_client::files;
use plotters::prelude::*;

use super::results::TraceResult;

const SIZE: (u32, u32) = (1200, 520);
const FONT: &str = "sans-serif";
/// Ways and their colours (Okabe and Ito, told apart by the colour-blind).
const WAYS: [(&str, RGBColor); 6] = [
    ("text", RGBColor(120, 124, 132)),
    ("raw", RGBColor(204, 121, 167)),
    ("int8", RGBColor(230, 159, 0)),
    ("q2", RGBColor(0, 114, 178)),
    ("controller", RGBColor(0, 158, 115)),
    ("controller base", RGBColor(213, 94, 0)),
];

/// Writes the picture, of the longest context of each trace.
pub(super) fn write(path: &Path, results: &[TraceResult]) -> anyhow::Result<()> {
    let svg = draw(results)?;
    files::write_whole(path, |part| std::fs::write(part, svg).map_err(files::unwritable(path)))?;
    Ok(())
}

fn draw(results: &[TraceResult]) -> anyhow::Result<String> {
    let mut svg = String::new();
    let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let times = |way: &str| -> Vec<(f64, f64)> {
        let longest = results.iter().enumerate().filter_map(|(idx, result)| Some((idx, result.contexts.last()?)));
        longest.filter_map(|(idx, context)| Some((idx as f64, context.way(way)?.ttft_ms))).collect()
    };
    let all: Vec<f64> = WAYS.iter().flat_map(|(way, _)| times(way)).map(|(_, ms)| ms).collect();
    let (low, high) = (all.iter().copied().fold(f64::INFINITY, f64::min), all.iter().copied().fold(1.0, f64::max));
    let names: Vec<&str> = results.iter().map(|result| result.trace.as_str()).collect();
    let mut chart = ChartBuilder::on(&area)
        .caption("Time to first token over each link, longest context", (FONT, 20))
        .margin(18)
        .x_label_area_size(30)
        .y_label_area_size(72)
        .build_cartesian_2d(-0.5..results.len() as f64 - 0.5, (0.7 * low.min(high)..1.4 * high).log_scale())?;
    chart
        .configure_mesh()
        .y_desc("milliseconds")
        .x_labels(results.len() + 1)
        .x_label_style((FONT, 12))
        .x_label_formatter(&|x| names.get(x.round() as usize).map_or(String::new(), |name| (*name).to_owned()))
        .y_label_formatter(&|ms| format!("{ms:.0}"))
        .light_line_style(TRANSPARENT)
        .draw()?;
    for (way, colour) in WAYS {
        let points = times(way).into_iter().map(|place| Circle::new(place, 5, colour.filled()));
        let label = move |(x, y)| Circle::new((x + 10, y), 5, colour.filled());
        chart.draw_series(points)?.label(way).legend(label);
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK)
        .draw()?;
    area.present()?;
    drop((chart, area));
    Ok(svg)
}
