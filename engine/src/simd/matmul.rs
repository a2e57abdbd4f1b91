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
    /// Words of one row, and lines of one panel.
    pub(super) words: usize,
    /// `[panels, words]`
    pub(super) panels: &'a [Line],
    /// `[panels, rows]` groups of sixteen sums.
    pub(super) out: &'a mut [[f32; LANES]],
}

impl Job for MatMul<'_> {
    #[inline(always)]
    fn run<L: Lanes>(self) {
        matmul::<L>(self.x, self.words, self.panels, self.out);
    }
}

/// The body of [`MatMul`].
#[inline(always)]
pub(super) fn matmul<L: Lanes>(x: &[u32], words: usize, panels: &[Line], out: &mut [[f32; LANES]]) {
    let rows = x.len() / words;
    for (panels, out) in panels.chunks(PANEL_GROUP * words).zip(out.chunks_mut(PANEL_GROUP * rows)) {
        let mut group = Group { x, words, panels, out, row: 0 };
        if L::WIDE {
            group.strips::<L, 4, 4>();
            group.strips::<L, 2, 4>();
        } else {
            group.strips::<L, 4, 1>();
            group.strips::<L, 2, 2>();
        }
        group.strips::<L, 1, 4>();
    }
}

/// A group of panels, and the first row whose sums over them are still to come.
struct Group<'a> {
    x: &'a [u32],
    words: usize,
    panels: &'a [Line],
    out: &'a mut [[f32; LANES]],
    row: usize,
}

impl Group<'_> {
    /// Takes strips of `M` rows while there are that many, `P` panels at a time.
    #[inline(always)]
    fn strips<L: Lanes, const M: usize, const P: usize>(&mut self) {
        let num_panels = self.panels.len() / self.words;
        let rows = self.x.len() / self.words;
        while rows - self.row >= M {
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

    /// Sums of `M` rows with `P` panels, held in registers from the first word to the last.
    #[inline(always)]
    fn tile<L: Lanes, const M: usize, const P: usize>(&mut self, panel: usize) {
        let words = self.words;
        let x: [&[u32]; M] = std::array::from_fn(|i| &self.x[(self.row + i) * words..][..words]);
        let panels: [&[Line]; P] = std::array::from_fn(|p| &self.panels[(panel + p) * words..][..words]);
        let mut acc = [[L::Acc::splat(0.0); P]; M];
        for word in 0..words {
            for (acc, x) in acc.iter_mut().zip(&x) {
                for (acc, panel) in acc.iter_mut().zip(&panels) {
                    L::madd(acc, x[word], &panel[word]);
                }
            }
        }
        let rows = self.x.len() / words;
        for (i, acc) in acc.into_iter().enumerate() {
            for (p, acc) in acc.into_iter().enumerate() {
                self.out[(panel + p) * rows + self.row + i] = acc.to_array();
            }
        }
    }
}
