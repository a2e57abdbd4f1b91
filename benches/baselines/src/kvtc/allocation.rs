//! Choice of runs and kinds: least error within a budget, by dynamic programming over components and bits.

use nalgebra::DMatrix;

use super::groups::{Group, Kind};

/// What bits are counted in; the bits of every run are a multiple.
const UNIT_BITS: usize = 16;
/// Most tokens that errors are measured on.
const MAX_TOKENS: usize = 128;
/// The budget is counted in coarser units beyond this many.
const MAX_UNITS: usize = 4096;

/// A kind and a size that a run may have.
struct Choice {
    kind: Kind,
    size: usize,
    units: usize,
    /// Error of the run by the component that it starts at.
    errors: Vec<f32>,
}

/// Runs from component 0 on, of least error on `components` (`[tokens, components]`) within `budget_bits` per token.
///
/// Components come in the order of their variance, so the ones left out are the last.
pub(super) fn allocate(components: &DMatrix<f32>, budget_bits: usize) -> Vec<Group> {
    let unit_bits = UNIT_BITS * (budget_bits / UNIT_BITS).div_ceil(MAX_UNITS).max(1);
    let budget = budget_bits / unit_bits;
    let tokens = sample(components);
    let choices = choices(&tokens, components.ncols(), unit_bits);
    let table = Table::fill(&choices, components.ncols(), budget);
    let energy = |component| tokens.iter().map(|token| token[component] * token[component]).sum::<f32>();
    let mut left_out = 0.0;
    let mut best = (f32::INFINITY, 0);
    for end in (0..=components.ncols()).rev() {
        let error = table.error(end, budget) + left_out;
        if error < best.0 {
            best = (error, end);
        }
        left_out += if end > 0 { energy(end - 1) } else { 0.0 };
    }
    table.trace(&choices, best.1, budget)
}

/// Evenly spaced tokens, each with its components.
fn sample(components: &DMatrix<f32>) -> Vec<Vec<f32>> {
    let step = components.nrows().div_ceil(MAX_TOKENS).max(1);
    (0..components.nrows()).step_by(step).map(|token| components.row(token).iter().copied().collect()).collect()
}

fn choices(tokens: &[Vec<f32>], num_components: usize, unit_bits: usize) -> Vec<Choice> {
    let sizes = Kind::ALL.into_iter().flat_map(|kind| kind.sizes().iter().map(move |size| (kind, *size)));
    let fitting = sizes.filter(|(_, size)| *size <= num_components);
    fitting
        .map(|(kind, size)| {
            let error = |start: usize| tokens.iter().map(|token| kind.error(&token[start..start + size])).sum();
            let errors = (0..=num_components - size).map(error).collect();
            Choice { kind, size, units: kind.bits(size).div_ceil(unit_bits), errors }
        })
        .collect()
}

/// Least errors of the components before each, for each number of units.
struct Table {
    errors: Vec<f32>,
    /// The last run's choice; none where nothing reaches there.
    last: Vec<Option<u8>>,
    width: usize,
}

impl Table {
    fn fill(choices: &[Choice], num_components: usize, budget: usize) -> Self {
        let width = budget + 1;
        let cells = (num_components + 1) * width;
        let mut table = Self { errors: vec![f32::INFINITY; cells], last: vec![None; cells], width };
        table.errors[..width].fill(0.0);
        for end in 1..=num_components {
            for (idx, choice) in choices.iter().enumerate().filter(|(_, choice)| choice.size <= end) {
                table.extend(end, idx as u8, choice);
            }
        }
        table
    }

    /// Lets a run end at `end` where that is better than what is known.
    fn extend(&mut self, end: usize, idx: u8, choice: &Choice) {
        let start = end - choice.size;
        for units in choice.units..self.width {
            let error = self.errors[start * self.width + units - choice.units] + choice.errors[start];
            let cell = end * self.width + units;
            if error < self.errors[cell] {
                (self.errors[cell], self.last[cell]) = (error, Some(idx));
            }
        }
    }

    fn error(&self, end: usize, units: usize) -> f32 {
        self.errors[end * self.width + units]
    }

    /// The runs that lead to a cell.
    fn trace(&self, choices: &[Choice], mut end: usize, mut units: usize) -> Vec<Group> {
        let mut groups = Vec::new();
        while let Some(idx) = self.last[end * self.width + units] {
            let choice = &choices[usize::from(idx)];
            end -= choice.size;
            units -= choice.units;
            groups.push(Group { start: end, size: choice.size, kind: choice.kind });
        }
        groups.reverse();
        groups
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 40 components of falling deviation.
    fn components() -> DMatrix<f32> {
        DMatrix::from_fn(30, 40, |token, component| {
            let noise = ((token * 7919 + component * 104_729) % 1009) as f32 / 504.5 - 1.0;
            noise * 20.0 / (1.0 + component as f32)
        })
    }

    #[test]
    fn runs_are_adjacent_from_the_first_component_on_and_within_the_budget() {
        for budget_bits in [0, 16, 100, 300, 640] {
            let groups = allocate(&components(), budget_bits);
            let mut end = 0;
            for group in &groups {
                assert_eq!(group.start, end);
                end = group.end();
            }
            assert!(groups.iter().map(|group| group.kind.bits(group.size)).sum::<usize>() <= budget_bits);
        }
    }

    #[test]
    fn a_larger_budget_leaves_a_smaller_error() {
        let components = components();
        let error = |budget_bits| {
            let groups = allocate(&components, budget_bits);
            let coded = groups.last().map_or(0, Group::end);
            let token = |row: usize| -> f32 {
                let values: Vec<f32> = components.row(row).iter().copied().collect();
                groups.iter().map(|group| group.kind.error(&values[group.start..group.end()])).sum::<f32>()
                    + values[coded..].iter().map(|value| value * value).sum::<f32>()
            };
            (0..components.nrows()).map(token).sum::<f32>()
        };
        let errors = [0, 64, 128, 256, 512, 640].map(error);
        assert!(errors.is_sorted_by(|a, b| a > b), "{errors:?}");
    }
}
