//! Put over QUIC: announce, learn what is missing, send that on streams of their own, wait for the commit.

use kvdepot_proto::{frame::Frame, limits, v1};
use quinn::SendStream;

use super::{
    Connection, broken,
    frames::{Answers, unexpected},
};
use crate::{
    Result,
    put::{EncodedChunk, Sending},
};

impl Connection {
    /// Runs one put to its acknowledgement.
    pub(crate) async fn put(&self, announce: v1::PutAnnounce, sending: &mut Sending<'_>) -> Result<v1::PutAck> {
        let transfer_id = announce.transfer_id;
        let asked = async {
            let (mut send, mut answers) = self.ask(Frame::Announce(announce)).await?;
            send.finish().map_err(broken)?;
            match answers.next().await? {
                Frame::Need(need) => Ok((answers, need)),
                other => Err(unexpected(&other, "the list of missing chunks")),
            }
        };
        let (mut answers, need) = self.within("the list of missing chunks", asked).await?;
        sending.need(need.chunk_idx)?;
        tokio::select! {
            biased;
            sent = self.send(transfer_id, sending) => match sent {
                Ok(()) => self.within("the commit", acknowledgement(&mut answers)).await,
                Err(error) => Err(answers.reason(error).await),
            },
            early = acknowledgement(&mut answers) => early,
        }
    }

    /// Sends the missing chunks, one stream each.
    async fn send(&self, transfer_id: u64, sending: &mut Sending<'_>) -> Result<()> {
        for (chunk_idx, chunk) in sending.missing() {
            let open = async { self.connection.open_uni().await.map_err(broken) };
            let mut stream = self.within("a stream", open).await?;
            self.send_chunk(&mut stream, transfer_id, (chunk_idx, chunk), sending).await?;
            stream.finish().map_err(broken)?;
        }
        Ok(())
    }

    async fn send_chunk(
        &self,
        stream: &mut SendStream,
        transfer_id: u64,
        (chunk_idx, chunk): (u32, &EncodedChunk),
        sending: &mut Sending<'_>,
    ) -> Result<()> {
        for segment in &chunk.segments {
            let segment_bytes = segment.bytes.len() as u64;
            let start = v1::SegmentStart { transfer_id, chunk_idx, key: Some(segment.key.into()), segment_bytes };
            self.write(stream, &Frame::Segment(start).to_bytes()).await?;
            for piece in segment.bytes.chunks(limits::PIECE_BYTES) {
                self.write(stream, piece).await?;
                sending.sent(piece.len());
            }
        }
        Ok(())
    }

    async fn write(&self, stream: &mut SendStream, bytes: &[u8]) -> Result<()> {
        self.within("room to send", async { stream.write_all(bytes).await.map_err(broken) }).await
    }
}

async fn acknowledgement(answers: &mut Answers) -> Result<v1::PutAck> {
    match answers.next().await? {
        Frame::Ack(ack) => Ok(ack),
        other => Err(unexpected(&other, "the acknowledgement")),
    }
}
