//! Cells of a heat map: colours where a terminal shows them, shades elsewhere.

use std::{env, io::IsTerminal};

/// Cold to hot, as red, green and blue: dark blue over teal and yellow to red.
const STOPS: [[f64; 3]; 5] =
    [[32.0, 40.0, 96.0], [24.0, 116.0, 140.0], [96.0, 180.0, 96.0], [240.0, 200.0, 64.0], [200.0, 48.0, 40.0]];
/// Light to dark, in quarters.
const SHADES: [char; 4] = ['░', '▒', '▓', '█'];
/// A cell without any error.
const NONE: char = '·';

/// How cells are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Palette {
    /// Backgrounds of 24 bits.
    TrueColour,
    /// Backgrounds out of the 256 colours that nearly every terminal has.
    Colours256,
    /// Characters.
    #[default]
    Shades,
}

impl Palette {
    /// What standard output takes: colours on a terminal, unless `NO_COLOR` is set or it is a dumb one.
    pub(super) fn of_stdout() -> Self {
        let set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
        let is = |name, values: &[&str]| env::var(name).is_ok_and(|value| values.contains(&value.as_str()));
        match () {
            () if !std::io::stdout().is_terminal() || set("NO_COLOR") || is("TERM", &["dumb"]) => Self::Shades,
            () if is("COLORTERM", &["truecolor", "24bit"]) => Self::TrueColour,
            () => Self::Colours256,
        }
    }

    /// A cell of `columns` columns; `heat` is 0 to 1, none without any error.
    pub(super) fn cell(self, heat: Option<f64>, columns: usize) -> String {
        let Some(heat) = heat else {
            return NONE.to_string().repeat(columns);
        };
        let [red, green, blue] = colour(heat);
        let spaces = " ".repeat(columns);
        match self {
            Self::TrueColour => format!("\x1b[48;2;{red};{green};{blue}m{spaces}\x1b[0m"),
            Self::Colours256 => format!("\x1b[48;5;{}m{spaces}\x1b[0m", cube_index([red, green, blue])),
            Self::Shades => SHADES[((heat * 4.0) as usize).min(3)].to_string().repeat(columns),
        }
    }
}

/// Between the stops.
fn colour(heat: f64) -> [u8; 3] {
    let place = heat.clamp(0.0, 1.0) * (STOPS.len() - 1) as f64;
    let stop = (place as usize).min(STOPS.len() - 2);
    let part = place - stop as f64;
    std::array::from_fn(|idx| (STOPS[stop][idx] + part * (STOPS[stop + 1][idx] - STOPS[stop][idx])).round() as u8)
}

/// The nearest of the cube of 6 x 6 x 6 colours, whose steps are 0 and 95 to 255 by 40.
fn cube_index(colour: [u8; 3]) -> usize {
    let step = |level: u8| if level < 48 { 0 } else { (usize::from(level).saturating_sub(35) / 40).clamp(1, 5) };
    let [red, green, blue] = colour.map(step);
    16 + 36 * red + 6 * green + blue
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_run_from_the_first_stop_to_the_last() {
        assert_eq!(colour(0.0), [32, 40, 96]);
        assert_eq!(colour(1.0), [200, 48, 40]);
        assert_eq!(colour(0.5), [96, 180, 96]);
    }

    #[test]
    fn the_cube_has_the_nearest_step() {
        assert_eq!(cube_index([0, 0, 0]), 16);
        assert_eq!(cube_index([255, 255, 255]), 231);
        assert_eq!(cube_index([95, 135, 175]), 16 + 36 + 12 + 3);
    }

    #[test]
    fn cells_reset_the_background() {
        assert_eq!(Palette::TrueColour.cell(Some(0.0), 2), "\x1b[48;2;32;40;96m  \x1b[0m");
        assert_eq!(Palette::Colours256.cell(Some(1.0), 1), "\x1b[48;5;166m \x1b[0m");
    }
}
