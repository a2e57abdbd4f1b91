//! The figures, as a table or as JSON.

use anyhow::Result;
use serde::Serialize;

/// Figures in the order in which they were measured.
#[derive(Default, Serialize)]
pub(crate) struct Report {
    figures: Vec<Figure>,
}

#[derive(Serialize)]
struct Figure {
    name: String,
    unit: &'static str,
    value: f64,
}

impl Report {
    /// Adds one figure.
    pub(crate) fn add(&mut self, name: &str, unit: &'static str, value: f64) {
        self.figures.push(Figure { name: name.to_owned(), unit, value });
    }

    /// Sorts values and adds their median and 99th percentile.
    pub(crate) fn add_percentiles(&mut self, name: &str, unit: &'static str, values: &mut [f64]) {
        values.sort_unstable_by(f64::total_cmp);
        for percent in [50, 99] {
            if let Some(value) = values.get(values.len().saturating_sub(1) * percent / 100) {
                self.add(&format!("{name}, p{percent}"), unit, *value);
            }
        }
    }

    /// Prints everything.
    pub(crate) fn print(&self, json: bool) -> Result<()> {
        if json {
            println!("{}", serde_json::to_string(self)?);
            return Ok(());
        }
        for Figure { name, unit, value } in &self.figures {
            println!("{name:<48} {value:>9.3} {unit}");
        }
        Ok(())
    }
}
