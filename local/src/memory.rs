//! Bytes in a sealed memory file.
//!
//! Copied out with `pread` and never mapped: on a Zen 3 that is as fast as mapping, since faults cost what the copy does, and the
//! memory is free as soon as the descriptor is closed.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use bytes::Bytes;
use kvdepot_proto::{Error, Result};
use rustix::buffer::spare_capacity;
use rustix::fs::{MemfdFlags, SealFlags};

/// What makes the bytes of a memory file final.
const SEALS: SealFlags = SealFlags::WRITE.union(SealFlags::SHRINK).union(SealFlags::GROW);

/// Bytes that no process can change, whoever has the descriptor.
#[derive(Debug)]
pub struct SealedMemory {
    descriptor: OwnedFd,
    len: usize,
}

impl SealedMemory {
    /// Memory with a copy of `bytes`.
    ///
    /// # Errors
    /// Those of the system, such as too many open files.
    pub fn new(bytes: &[u8]) -> io::Result<Self> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let mut file = File::from(rustix::fs::memfd_create("kvdepot-segment", flags)?);
        file.write_all(bytes)?;
        rustix::fs::fcntl_add_seals(&file, SEALS | SealFlags::SEAL)?;
        Ok(Self { descriptor: file.into(), len: bytes.len() })
    }

    /// Takes what a peer says is sealed memory of `len` bytes at its word only after looking.
    ///
    /// # Errors
    /// `Invalid` when it can still change, or has another size.
    pub fn received(descriptor: OwnedFd, len: u64) -> Result<Self> {
        let seals = rustix::fs::fcntl_get_seals(&descriptor).unwrap_or(SealFlags::empty());
        let found = rustix::fs::fstat(&descriptor).ok().and_then(|stat| u64::try_from(stat.st_size).ok());
        match usize::try_from(len) {
            Ok(expected) if seals.contains(SEALS) && found == Some(len) => Ok(Self { descriptor, len: expected }),
            _ => Err(Error::invalid(format!(
                "memory of {found:?} bytes with seals {seals:?}, {len} sealed ones are due"
            ))),
        }
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// A copy of the bytes.
    ///
    /// # Errors
    /// Those of the system.
    pub fn read(&self) -> io::Result<Bytes> {
        let mut bytes = Vec::with_capacity(self.len);
        while bytes.len() < self.len {
            let offset = bytes.len() as u64;
            match rustix::io::pread(&self.descriptor, spare_capacity(&mut bytes), offset) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        bytes.truncate(self.len);
        Ok(bytes.into())
    }
}

impl AsFd for SealedMemory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_reads_back_and_can_not_be_written() {
        let memory = SealedMemory::new(b"final").unwrap();
        assert_eq!(memory.read().unwrap(), &b"final"[..]);
        let mut file = File::from(memory.as_fd().try_clone_to_owned().unwrap());
        assert!(file.write_all(b"other").is_err() && file.set_len(0).is_err());
        let received = SealedMemory::received(file.into(), 5).unwrap();
        assert_eq!(received.read().unwrap(), &b"final"[..]);
    }

    #[test]
    fn memory_that_can_change_or_has_another_size_is_refused() {
        let descriptor = || SealedMemory::new(b"final").unwrap().descriptor;
        assert!(SealedMemory::received(descriptor(), 4).is_err());
        assert!(SealedMemory::received(descriptor(), 6).is_err());
        let mut open = File::from(rustix::fs::memfd_create("open", MemfdFlags::ALLOW_SEALING).unwrap());
        open.write_all(b"final").unwrap();
        rustix::fs::fcntl_add_seals(&open, SealFlags::SHRINK | SealFlags::GROW).unwrap();
        assert!(SealedMemory::received(open.into(), 5).is_err());
        let plain = std::os::unix::net::UnixStream::pair().unwrap().0;
        assert!(SealedMemory::received(plain.into(), 0).is_err());
    }
}
