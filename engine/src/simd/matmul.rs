//! Product of packed rows with packed panels.

use super::dispatch::Job;
use super::lanes::{Lanes, Vector};
use super::line::{LANES, Line};

/// Panels taken together, so that they stay in the first-level cache while all rows pass over them.
const PANEL_GROUP: usize = 4;

/// `out = x * panels^T`: one sum per row of `x` and column of `panels`.
pub(super) struct MatMul<'a> {
    /// `[rows, words]`
    pub(super) x: &'a [u32],
    pub(super) rows: usize,
    /// `[panels, lines]`
    pub(super) panels: &'a [Line],
    /// `[panels, rows]` groups of sixteen sums.
    pub(super) out: &'a mut [[f32; LANES]],
}

impl Job for MatMul<'_> {
    #[inline(always)]
    fn run<L: Lanes>(self) {
        matmul::<L>(self.x, self.rows, self.panels, self.out);
    }
}

/// The body of [`MatMul`].
#[inline(always)]
pub(super) fn matmul<L: Lanes>(x: &[u32], rows: usize, panels: &[Line], out: &mut [[f32; LANES]]) {
    let lines = L::left(&x[..x.len() / rows]).len();
    for (panels, out) in panels.chunks(PANEL_GROUP * lines).zip(out.chunks_mut(PANEL_GROUP * rows)) {
        let mut group = Group { x, rows, lines, panels, out, row: 0 };
        if L::WIDE {
            group.strips::<L, 4, 4>();
            group.strips::<L, 2, 4>();
        } else {
            // Six rows spill: their sums, both halves of a line, the line itself and a left word are 17 registers.
            group.strips::<L, 5, 1>();
            group.strips::<L, 4, 1>();
            group.strips::<L, 2, 2>();
        }
        group.strips::<L, 1, 4>();
    }
}

/// A group of panels, and the first row whose sums over them are still to come.
struct Group<'a> {
    x: &'a [u32],
    rows: usize,
    /// Lines of one panel.
    lines: usize,
    panels: &'a [Line],
    out: &'a mut [[f32; LANES]],
    row: usize,
}

impl Group<'_> {
    /// Takes strips of `M` rows while there are that many, `P` panels at a time.
    #[inline(always)]
    fn strips<L: Lanes, const M: usize, const P: usize>(&mut self) {
        let num_panels = self.panels.len() / self.lines;
        while self.rows - self.row >= M {
            let mut panel = 0;
            while num_panels - panel >= P {
                self.tile::<L, M, P>(panel);
                panel += P;
            }
            while panel < num_panels {
                self.tile::<L, M, 1>(panel);
                panel += 1;
            }
            self.row += M;
        }
    }

    /// Sums of `M` rows with `P` panels, held in registers from the first line to the last.
    #[inline(always)]
    fn tile<L: Lanes, const M: usize, const P: usize>(&mut self, panel: usize) {
        let (lines, words) = (self.lines, self.x.len() / self.rows);
        let x: [&[L::Left]; M] = std::array::from_fn(|i| &L::left(&self.x[(self.row + i) * words..][..words])[..lines]);
        let panels: [&[Line]; P] = std::array::from_fn(|p| &self.panels[(panel + p) * lines..][..lines]);
        let mut acc = [[L::Acc::splat(0.0); P]; M];
        for line in 0..lines {
            L::madd(&mut acc, &x, &panels, line);
        }
        // By reference: iterators over arrays by value copy them from place to place, for longer than a short tile takes.
        for (i, acc) in acc.iter().enumerate() {
            for (p, acc) in acc.iter().enumerate() {
                self.out[(panel + p) * self.rows + self.row + i] = acc.to_array();
            }
        }
    }
}
