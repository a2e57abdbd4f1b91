use super::*;

fn row(first_layer: usize, side: &'static str, mse: f64) -> LayerRow {
    LayerRow::of_error(first_layer, side, mse)
}

fn drawn(num_layers: usize, rows: &[LayerRow]) -> String {
    HeatMap { num_layers, palette: Palette::Shades, blocks: vec![(String::new(), rows)] }.to_string()
}

#[test]
fn the_least_error_is_light_and_the_greatest_dark() {
    let rows = [row(0, "k", 1e-8), row(1, "k", 1e-2), row(0, "v", 1e-5), row(1, "v", 0.0)];
    let text = drawn(2, &rows);
    let line =
        |side: &str| text.lines().find(|line| line.starts_with(side)).map(|line| line[LABEL_COLUMNS..].to_owned());
    assert_eq!(line("k").as_deref(), Some("░░██"), "{text}");
    assert_eq!(line("v").as_deref(), Some("▓▓··"), "{text}");
    assert!(text.contains("1.00e-4 ░") && text.contains("█ 1.00e-1"), "{text}");
}

#[test]
fn layers_without_a_segment_are_marked() {
    let text = drawn(3, &[row(1, "v", 1e-4)]);
    assert!(text.contains("v            ? ██? \n"), "{text}");
}

#[test]
fn many_layers_take_several_lines() {
    let rows: Vec<LayerRow> = (0..130).map(|layer| row(layer, "k", 1e-4)).collect();
    let lines = drawn(130, &rows)
        .lines()
        .filter(|line| line.ends_with('█'))
        .map(|line| line.trim().chars().filter(|c| *c == '█').count())
        .collect::<Vec<_>>();
    assert_eq!(lines, [64, 64, 2]);
}

#[test]
fn no_error_is_said_in_words() {
    assert_eq!(drawn(1, &[row(0, "k", 0.0)]), "no error: every bit is kept\n");
}
