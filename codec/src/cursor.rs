//! Reading of hostile bytes: every length is checked against what is there, and errors say where.
#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::cast_possible_truncation)
)]

use crate::{Error, Result};

/// What is left to read of some bytes, and where it lies in them.
#[derive(Debug, Clone)]
pub(crate) struct Cursor<'a> {
    rest: &'a [u8],
    offset: usize,
}

impl<'a> Cursor<'a> {
    /// Reads `bytes`, whose first byte errors call `offset`.
    pub(crate) fn new(bytes: &'a [u8], offset: usize) -> Self {
        Self { rest: bytes, offset }
    }

    /// Where the next byte lies.
    pub(crate) fn offset(&self) -> usize {
        self.offset
    }

    /// Bytes not read yet.
    pub(crate) fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// The error that says `reason` about the next byte.
    pub(crate) fn corrupt(&self, reason: impl Into<String>) -> Error {
        Error::corrupt(self.offset, reason)
    }

    /// The next `count` bytes, which hold `what`.
    pub(crate) fn take(&mut self, count: usize, what: &str) -> Result<&'a [u8]> {
        let (taken, rest) = self
            .rest
            .split_at_checked(count)
            .ok_or_else(|| self.corrupt(format!("{what} needs {count} bytes, {} are left", self.rest.len())))?;
        self.rest = rest;
        self.offset = self.offset.saturating_add(count);
        Ok(taken)
    }

    /// The next `count` bytes as a cursor of their own.
    pub(crate) fn split(&mut self, count: usize, what: &str) -> Result<Self> {
        let offset = self.offset;
        Ok(Self::new(self.take(count, what)?, offset))
    }

    /// Everything that is left.
    pub(crate) fn take_rest(&mut self) -> &'a [u8] {
        self.offset = self.offset.saturating_add(self.rest.len());
        std::mem::take(&mut self.rest)
    }

    /// The next `N` bytes.
    pub(crate) fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N, what)?);
        Ok(array)
    }

    /// The next byte.
    pub(crate) fn u8(&mut self, what: &str) -> Result<u8> {
        self.array(what).map(u8::from_le_bytes)
    }

    /// The next little-endian `u16`.
    pub(crate) fn u16(&mut self, what: &str) -> Result<u16> {
        self.array(what).map(u16::from_le_bytes)
    }

    /// The next little-endian `u32`.
    pub(crate) fn u32(&mut self, what: &str) -> Result<u32> {
        self.array(what).map(u32::from_le_bytes)
    }

    /// The next little-endian `u64`.
    pub(crate) fn u64(&mut self, what: &str) -> Result<u64> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// The next little-endian `f64`.
    pub(crate) fn f64(&mut self, what: &str) -> Result<f64> {
        self.array(what).map(f64::from_le_bytes)
    }

    /// Reads what is left as padding: fewer than `alignment` bytes, all zero.
    pub(crate) fn finish_padding(self, alignment: usize) -> Result<()> {
        if self.rest.len() >= alignment || self.rest.iter().any(|&byte| byte != 0) {
            return Err(self.corrupt(format!("{} bytes that belong to nothing", self.rest.len())));
        }
        Ok(())
    }
}
