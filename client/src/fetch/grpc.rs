//! Fetch over the control plane: the manifest, then every segment in pieces.

use kvdepot_proto::{Error, PieceAssembly, v1};
use tonic::Streaming;
use v1::get_response::Message;

use super::{Delivery, Transport};
use crate::{Result, control::Control};

pub(super) async fn fetch(control: &Control, delivery: &mut Delivery<'_>) -> Result<()> {
    let mut depot = control.depot();
    let mut stream = control.answer(depot.get(delivery.request(0))).await?;
    let (manifest, due) = match next(control, &mut stream).await? {
        Some(Message::Manifest(manifest)) => delivery.begin(manifest, Transport::Grpc)?,
        Some(Message::Piece(_)) => return Err(Error::invalid("the depot's answer does not begin with a manifest")),
        None => return Err(Error::invalid("the depot's answer is empty")),
    };
    let mut pieces = PieceAssembly::new(due.wanted().collect());
    while !pieces.is_complete() {
        let piece = match next(control, &mut stream).await? {
            Some(Message::Piece(piece)) => piece,
            Some(Message::Manifest(_)) => return Err(Error::invalid("the depot's answer has two manifests")),
            None => return Err(Error::invalid("the depot's answer ends before its last segment")),
        };
        if let Some(segment) = pieces.push(piece)? {
            manifest.verify(&segment)?;
            delivery.segment(&segment)?;
        }
    }
    Ok(())
}

async fn next(control: &Control, stream: &mut Streaming<v1::GetResponse>) -> Result<Option<Message>> {
    let next = async { stream.message().await.map_err(|status| control.failure(status)) };
    match control.within("the next piece", next).await? {
        Some(response) => {
            response.message.map(Some).ok_or_else(|| Error::invalid("the depot's answer has an empty part"))
        }
        None => Ok(None),
    }
}
