//! RoPE over halves of a head, forth and back.

/// Rotations by position: element `i` of a head is paired with element `i + head_dim / 2`.
#[derive(Debug, Clone)]
pub(crate) struct Rope {
    inverse_frequencies: Vec<f64>,
}

/// Cosine and sine of each pair at one position.
pub(crate) struct Rotation(Vec<(f32, f32)>);

impl Rope {
    pub(crate) fn new(inverse_frequencies: Vec<f64>) -> Self {
        Self { inverse_frequencies }
    }

    /// Those of a model.
    pub(crate) fn of(rope: &kvdepot_codec::Rope, head_dim: usize) -> Self {
        Self::new(rope.frequencies(head_dim).into_iter().map(f64::from).collect())
    }

    /// What a key at `position` was rotated by.
    pub(crate) fn rotation(&self, position: u64) -> Rotation {
        let angles = self.inverse_frequencies.iter().map(|frequency| position as f64 * frequency);
        Rotation(angles.map(|angle| (angle.cos() as f32, angle.sin() as f32)).collect())
    }
}

impl Rotation {
    /// Rotates a head.
    pub(crate) fn apply(&self, head: &mut [f32]) {
        self.turn(head, 1.0);
    }

    /// Rotates a head back.
    pub(crate) fn undo(&self, head: &mut [f32]) {
        self.turn(head, -1.0);
    }

    fn turn(&self, head: &mut [f32], direction: f32) {
        let (low, high) = head.split_at_mut(head.len() / 2);
        for ((a, b), (cos, sin)) in low.iter_mut().zip(high).zip(&self.0) {
            (*a, *b) = (*a * cos - direction * *b * sin, *b * cos + direction * *a * sin);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn undoing_a_rotation_gives_the_key_back() {
        let rope = Rope::new(vec![1.0, 0.01]);
        let mut head = [1.0, 2.0, 3.0, 4.0];
        let rotation = rope.rotation(1_000_003);
        rotation.apply(&mut head);
        assert!((head[0] - 1.0).abs() > 1e-3);
        rotation.undo(&mut head);
        assert!(head.iter().zip([1.0f32, 2.0, 3.0, 4.0]).all(|(turned, key)| (turned - key).abs() < 1e-5), "{head:?}");
    }

    #[test]
    fn a_quarter_turn_moves_the_first_half_into_the_second() {
        let mut head = [1.0, 0.0];
        Rope::new(vec![std::f64::consts::FRAC_PI_2]).rotation(1).apply(&mut head);
        assert!(head[0].abs() < 1e-6 && (head[1] - 1.0).abs() < 1e-6, "{head:?}");
    }
}
