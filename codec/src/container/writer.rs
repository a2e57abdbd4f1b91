//! Writing of containers, chunk by chunk.

use std::io::{self, Seek, SeekFrom, Write};

use super::header::{Entry, Header};
use super::{Description, Error};
use crate::Segment;

/// Writes a container: room for the header, then chunks in order, then the header.
///
/// Until [`Self::finish`] the output does not parse, so that an interrupted one is not mistaken for a container.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    header: Header,
    segments_per_chunk: usize,
    next_chunk: usize,
    segments_bytes: usize,
}

impl<W: Write + Seek> Writer<W> {
    /// Starts a container at the start of `out`, with `segments_per_chunk` segments for each chunk.
    ///
    /// # Errors
    /// `InvalidInput` when the description cannot be; else those of `out`.
    pub fn new(mut out: W, description: Description, segments_per_chunk: usize) -> io::Result<Self> {
        description.check()?;
        if segments_per_chunk == 0 {
            return Err(Error::Invalid("no segments per chunk".into()).into());
        }
        let num_entries = description.num_chunks().saturating_mul(segments_per_chunk);
        let header_bytes = Header::encoded_bytes(&description, num_entries)?;
        out.seek(SeekFrom::Start(header_bytes as u64))?;
        let header = Header { description, entries: Vec::new() };
        Ok(Self { out, header, segments_per_chunk, next_chunk: 0, segments_bytes: 0 })
    }

    /// Adds the segments of the next chunk.
    ///
    /// # Errors
    /// `InvalidInput` when their number is not the one announced or all chunks are there; else those of the output.
    pub fn push(&mut self, segments: &[Segment]) -> io::Result<()> {
        let num_chunks = self.header.description.num_chunks();
        if segments.len() != self.segments_per_chunk || self.next_chunk == num_chunks {
            let (chunk, count) = (self.next_chunk, segments.len());
            return Err(Error::Invalid(format!("{count} segments for chunk {chunk} of {num_chunks}")).into());
        }
        for segment in segments {
            self.out.write_all(&segment.bytes)?;
            let range = self.segments_bytes..self.segments_bytes + segment.bytes.len();
            self.segments_bytes = range.end;
            self.header.entries.push(Entry { chunk: self.next_chunk, key: segment.key, range });
        }
        self.next_chunk += 1;
        Ok(())
    }

    /// Writes the header and gives back the output.
    ///
    /// # Errors
    /// `InvalidInput` when chunks are missing; else those of the output.
    pub fn finish(mut self) -> io::Result<W> {
        let num_chunks = self.header.description.num_chunks();
        if self.next_chunk != num_chunks {
            return Err(Error::Invalid(format!("{} chunks of {num_chunks} written", self.next_chunk)).into());
        }
        self.out.seek(SeekFrom::Start(0))?;
        self.out.write_all(&self.header.to_bytes())?;
        self.out.flush()?;
        Ok(self.out)
    }
}
