//! Fetches from a depot on this host: over a Unix socket, with segments in memory that both processes may read.

mod fetch;

use std::time::Duration;

use kvdepot_local::{Announced, FrameReader, FrameWriter};
use kvdepot_proto::{frame::Frame, v1};

use crate::{Error, ErrorKind, Result, control::within};

/// A connection. It carries one fetch.
pub(crate) struct Connection {
    reader: FrameReader,
    writer: FrameWriter,
    timeout: Duration,
}

impl Connection {
    /// Connects to the depot that announced itself, as this process's user or as root.
    pub(crate) async fn open(announced: &Announced, timeout: Duration) -> Result<Self> {
        let connected = async {
            let stream = kvdepot_local::connect(&announced.socket).await?;
            let (reader, mut writer) = kvdepot_local::halves(stream);
            writer.write(&Frame::Hello(v1::Hello { token: announced.token.clone() }), &[]).await?;
            Ok(Self { reader, writer, timeout })
        };
        within(timeout, "the local connection", connected).await
    }

    /// The depot's next frame. A failure that it reports is an error.
    async fn next(&mut self) -> Result<Frame> {
        next(&mut self.reader).await
    }
}

async fn next(reader: &mut FrameReader) -> Result<Frame> {
    match reader.next().await? {
        Some(Frame::Failure(failure)) => Err(failure.into()),
        Some(frame) => Ok(frame),
        None => Err(Error::new(ErrorKind::Unavailable, "the depot ended the connection before its answer; try again")),
    }
}

fn unexpected(frame: &Frame, due: &str) -> Error {
    Error::invalid(format!("the depot sent a {} frame where {due} was due", frame.name()))
}
