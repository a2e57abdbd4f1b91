//! Frames over a Unix socket, with descriptors beside them.
//!
//! The descriptors of a frame come with its first byte, in order, so that whoever has read a frame has its descriptors.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use kvdepot_proto::frame::{Frame, FrameDecoder};
use kvdepot_proto::{Error, ErrorKind, Result};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};
use tokio::io::Interest;
use tokio::net::UnixStream;

/// Most descriptors beside one frame.
pub const MAX_DESCRIPTORS: usize = 32;
/// Most descriptors that may wait for their frame.
const MAX_WAITING_DESCRIPTORS: usize = 2 * MAX_DESCRIPTORS;
/// Most bytes that are taken from the socket at once.
const READ_BYTES: usize = 64 << 10;

/// Connects to a depot's socket, if who listens there is trusted.
///
/// # Errors
/// `Unavailable` when nobody does.
pub async fn connect(path: &Path) -> Result<UnixStream> {
    let failed = |reason: String| Error::new(ErrorKind::Unavailable, format!("{}: {reason}", path.display()));
    let stream = UnixStream::connect(path).await.map_err(|error| failed(error.to_string()))?;
    if is_trusted(&stream) { Ok(stream) } else { Err(failed("it is another user's".to_owned())) }
}

/// Whether the peer runs as this process's user, or as root.
pub fn is_trusted(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid().as_raw();
    stream.peer_cred().is_ok_and(|peer| peer.uid() == own || peer.uid() == 0)
}

/// Both directions of a connection.
pub fn halves(stream: UnixStream) -> (FrameReader, FrameWriter) {
    let stream = Arc::new(stream);
    let reader = FrameReader {
        stream: Arc::clone(&stream),
        decoder: FrameDecoder::default(),
        descriptors: VecDeque::new(),
        buffer: vec![0; READ_BYTES],
    };
    (reader, FrameWriter { stream })
}

/// The frames of a peer.
pub struct FrameReader {
    stream: Arc<UnixStream>,
    decoder: FrameDecoder,
    descriptors: VecDeque<OwnedFd>,
    buffer: Vec<u8>,
}

/// The frames to a peer.
pub struct FrameWriter {
    stream: Arc<UnixStream>,
}

impl FrameReader {
    /// The next frame; none when the peer has closed the connection after one.
    ///
    /// # Errors
    /// `Invalid` for what is no frame, `Unavailable` when the connection breaks.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Result<Option<Frame>> {
        loop {
            if let Some(frame) = self.decoder.next_frame()? {
                return Ok(Some(frame));
            }
            self.stream.readable().await.map_err(gone)?;
            let stream = Arc::clone(&self.stream);
            match stream.try_io(Interest::READABLE, || self.receive()) {
                Ok(0) if self.decoder.is_empty() => return Ok(None),
                Ok(0) => return Err(gone("it ended within a frame")),
                Ok(_) => {}
                Err(error) if is_retried(&error) => {}
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    return Err(Error::invalid(error.to_string()));
                }
                Err(error) => return Err(gone(error)),
            }
        }
    }

    /// The next descriptor that came with frames read so far.
    ///
    /// # Errors
    /// `Invalid` when none is left.
    pub fn take_descriptor(&mut self) -> Result<OwnedFd> {
        self.descriptors.pop_front().ok_or_else(|| Error::invalid("a frame without its descriptors"))
    }

    fn receive(&mut self) -> io::Result<usize> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut bytes = [IoSliceMut::new(&mut self.buffer)];
        let received = rustix::net::recvmsg(&*self.stream, &mut bytes, &mut control, RecvFlags::CMSG_CLOEXEC)?;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                self.descriptors.extend(descriptors);
            }
        }
        if received.flags.contains(ReturnFlags::CTRUNC) || self.descriptors.len() > MAX_WAITING_DESCRIPTORS {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "more descriptors than any frame has"));
        }
        self.decoder.push(self.buffer.get(..received.bytes).unwrap_or_default());
        Ok(received.bytes)
    }
}

impl FrameWriter {
    /// Writes a frame with at most [`MAX_DESCRIPTORS`] descriptors beside it.
    ///
    /// # Errors
    /// `Unavailable` when the peer has gone.
    ///
    /// # Cancel safety
    /// None: what was written of a frame stays written, and the connection is of no use.
    pub async fn write(&mut self, frame: &Frame, descriptors: &[BorrowedFd<'_>]) -> Result<()> {
        let bytes = frame.to_bytes();
        let mut written = 0;
        while written < bytes.len() {
            let (rest, beside) =
                (bytes.get(written..).unwrap_or_default(), if written == 0 { descriptors } else { &[] });
            self.stream.writable().await.map_err(gone)?;
            match self.stream.try_io(Interest::WRITABLE, || self.send(rest, beside)) {
                Ok(sent) => written += sent,
                Err(error) if is_retried(&error) => {}
                Err(error) => return Err(gone(error)),
            }
        }
        Ok(())
    }

    fn send(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<usize> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "more descriptors than a frame may have"));
        }
        Ok(rustix::net::sendmsg(&*self.stream, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?)
    }
}

fn is_retried(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

fn gone(error: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Unavailable, format!("the local connection broke: {error}"))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use kvdepot_proto::v1;

    use super::*;
    use crate::SealedMemory;

    #[tokio::test]
    async fn frames_come_with_their_descriptors_in_order() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let ((_, mut writer), (mut reader, _)) = (halves(ours), halves(theirs));
        let big = Frame::Need(v1::PutNeed { chunk_idx: vec![7; 40_000] });
        let sent = tokio::spawn(async move {
            for number in 0..100u8 {
                let memories = [0, 1].map(|which| SealedMemory::new(&[number, which]).unwrap());
                writer.write(&big, &[]).await.unwrap();
                writer.write(&Frame::Taken(v1::Taken {}), &memories.each_ref().map(AsFd::as_fd)).await.unwrap();
            }
        });
        for number in 0..100u8 {
            assert!(matches!(reader.next().await.unwrap(), Some(Frame::Need(need)) if need.chunk_idx.len() == 40_000));
            assert_eq!(reader.next().await.unwrap(), Some(Frame::Taken(v1::Taken {})));
            for which in [0, 1] {
                let memory = SealedMemory::received(reader.take_descriptor().unwrap(), 2).unwrap();
                assert_eq!(memory.read().unwrap(), [number, which].as_slice());
            }
        }
        assert!(reader.take_descriptor().is_err(), "no more than were sent");
        sent.await.unwrap();
        assert_eq!(reader.next().await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_peer_that_sends_descriptors_without_end_is_refused() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let ((_, mut writer), (mut reader, _)) = (halves(ours), halves(theirs));
        let memory = SealedMemory::new(&[1]).unwrap();
        let descriptors = vec![memory.as_fd(); MAX_DESCRIPTORS];
        for _ in 0..3 {
            writer.write(&Frame::Taken(v1::Taken {}), &descriptors).await.unwrap();
        }
        let mut outcomes = Vec::new();
        for _ in 0..3 {
            outcomes.push(reader.next().await.map_err(|error| error.kind()));
        }
        assert_eq!(outcomes.last(), Some(&Err(ErrorKind::Invalid)), "{outcomes:?}");
    }
}
