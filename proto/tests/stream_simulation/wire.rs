//! Bytes under way: they arrive in order, in pieces of any size, or not at all.

use bytes::{Bytes, BytesMut};

use crate::dice::Dice;

/// One direction of a stream.
#[derive(Default)]
pub(crate) struct Wire {
    under_way: BytesMut,
    /// Whether the sender writes nothing more.
    pub(crate) is_finished: bool,
}

impl Wire {
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.under_way.extend_from_slice(bytes);
    }

    /// What arrives next.
    pub(crate) fn arrive(&mut self, dice: &mut Dice) -> Bytes {
        let longest = self.under_way.len().min(1 + dice.below(2 * self.under_way.len()));
        self.under_way.split_to(longest).freeze()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.under_way.is_empty()
    }
}
