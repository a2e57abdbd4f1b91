//! `kvdepot get`.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use clap::Args;
use kvdepot_client::{
    Client, Error, ErrorKind, FetchReport, FetchRequest, FetchTarget, FetchedKv, IdPrefix, Result, Transport,
};
use kvdepot_codec::dump;
use serde::Serialize;

use super::{
    files,
    input::{self, NamespaceArgs},
    progress, text,
};

#[derive(Args)]
#[command(allow_missing_positional = true)]
pub(super) struct GetArgs {
    /// Leading digits of the id of the context's last chunk, at least 4
    #[arg(required_unless_present = "tokens", conflicts_with = "tokens")]
    id: Option<IdPrefix>,
    /// KV dump to write
    #[arg(value_name = "OUT.safetensors")]
    out: PathBuf,
    /// Token ids, of which the longest stored prefix is fetched
    #[arg(long, value_name = "FILE", requires = "spec")]
    tokens: Option<PathBuf>,
    /// Spec in JSON; with an id, what the context is expected to be
    #[arg(long, value_name = "FILE")]
    spec: Option<PathBuf>,
    #[command(flatten)]
    namespace: NamespaceArgs,
}

#[derive(Serialize)]
pub(super) struct Fetched {
    out: PathBuf,
    id: String,
    tokens: usize,
    chunks: usize,
    raw_kv_bytes: u64,
    payload_bytes: u64,
    transport: Transport,
    elapsed_ms: u64,
    time_to_first_byte_ms: u64,
}

impl GetArgs {
    pub(super) async fn run(&self, client: &Client) -> Result<Fetched> {
        let request = self.request(client).await?;
        let bar = progress::transfer("get");
        let fetched = client.fetch_kv(&request, |progress| {
            bar.set_length(progress.total_bytes);
            bar.set_position(progress.received_bytes);
        });
        let fetched = fetched.await?;
        bar.finish_and_clear();
        if fetched.chunks.is_empty() {
            return Err(missed(client, &request).await?);
        }
        let origin = input::origin(&fetched.manifest);
        let write = |path: &Path| dump::write(path, &fetched.chunks, &origin).map_err(files::unwritable(&self.out));
        files::write_whole(&self.out, write)?;
        Ok(self.report(&fetched))
    }

    async fn request(&self, client: &Client) -> Result<FetchRequest> {
        let spec = self.spec.as_deref().map(input::read_spec).transpose()?;
        let scope = spec.map(|spec| self.namespace.scope(spec));
        let what = match (&self.id, &self.tokens) {
            (Some(id), _) => FetchTarget::Chunk(client.inspect(id).await?.context.id),
            (None, Some(path)) => FetchTarget::Tokens(input::read_tokens(path)?),
            (None, None) => return Err(Error::invalid("which context? pass an id, or --tokens FILE and --spec FILE")),
        };
        Ok(FetchRequest { scope, what, skip_chunks: 0 })
    }

    fn report(&self, fetched: &FetchedKv) -> Fetched {
        let FetchedKv { manifest, report, .. } = fetched;
        let FetchReport { chunks, payload_bytes, transport, elapsed, time_to_first_byte, .. } = *report;
        Fetched {
            out: self.out.clone(),
            id: manifest.chunks.last().map(|chunk| chunk.id.to_string()).unwrap_or_default(),
            tokens: manifest.tokens.len(),
            chunks,
            raw_kv_bytes: manifest.spec.geometry.kv_bytes(manifest.tokens.len()) as u64,
            payload_bytes,
            transport,
            elapsed_ms: text::millis(elapsed),
            time_to_first_byte_ms: text::millis(time_to_first_byte),
        }
    }
}

/// The error of a get that found nothing, with the depot's reason.
async fn missed(client: &Client, request: &FetchRequest) -> Result<Error> {
    let reason = match (&request.what, &request.scope) {
        (FetchTarget::Tokens(tokens), Some(scope)) => client.matches(scope, tokens).await?.miss_reason,
        _ => None,
    };
    let reason = reason.unwrap_or_else(|| "the context is empty".to_owned());
    Ok(Error::new(ErrorKind::NotFound, format!("nothing of the context is stored: {reason}")))
}

impl fmt::Display for Fetched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (raw, payload) = (text::bytes(self.raw_kv_bytes), text::bytes(self.payload_bytes));
        let (tokens, ms, out) = (self.tokens, self.elapsed_ms, self.out.display());
        write!(f, "{tokens} tokens, {payload} fetched in {ms} ms and decoded to {raw}, in {out}")
    }
}
