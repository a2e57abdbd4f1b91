//! `kvdepot get`.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use clap::Args;
use kvdepot_client::{
    Client, Error, ErrorKind, FetchReport, FetchRequest, FetchTarget, FetchedKv, IdPrefix, Result, Transport, files,
};
use kvdepot_codec::{Level, dump};
use kvdepot_proto::stream::{SendOrder, Wants};
use serde::Serialize;

use super::{
    get_explained::ExplainedChunk,
    input::{self, NamespaceArgs},
    progress, text,
};

#[derive(Args)]
#[command(override_usage = "kvdepot get [OPTIONS] ID OUT.safetensors
       kvdepot get [OPTIONS] --tokens FILE --spec FILE OUT.safetensors")]
pub(super) struct GetArgs {
    /// Leading digits of the id of the context's last chunk, at least 4, unless --tokens is there; then the KV dump to
    /// write
    // One list: clap cannot tell an optional first argument from the second when options stand between them.
    #[arg(required = true, num_args = 1..=2, value_names = ["ID", "OUT.safetensors"])]
    id_and_out: Vec<PathBuf>,
    /// Token ids, of which the longest stored prefix is fetched
    #[arg(long, value_name = "FILE", requires = "spec")]
    tokens: Option<PathBuf>,
    /// Spec in JSON; with an id, what the context is expected to be
    #[arg(long, value_name = "FILE")]
    spec: Option<PathBuf>,
    /// Fetch only so many quality layers of each chunk: fewer bytes, coarser KV. All when left out
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=i64::from(Level::MAX_QUALITIES)))]
    qualities: Option<u8>,
    /// Say of each chunk what was fetched, and how fast it came
    #[arg(long)]
    explain: bool,
    #[command(flatten)]
    namespace: NamespaceArgs,
}

/// How the context is named.
enum Asked<'a> {
    Id(IdPrefix),
    Tokens(&'a Path),
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
    /// With --explain.
    #[serde(skip_serializing_if = "Option::is_none")]
    explained: Option<Vec<ExplainedChunk>>,
}

impl GetArgs {
    pub(super) async fn run(&self, client: &Client) -> Result<Fetched> {
        let (asked, out) = self.asked()?;
        let request = self.request(client, &asked).await?;
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
        let write = |path: &Path| dump::write(path, &fetched.chunks, &origin).map_err(files::unwritable(out));
        files::write_whole(out, write)?;
        let explain = |chunk| ExplainedChunk::new(chunk, request.wants.max_qualities());
        let explained = self.explain.then(|| fetched.manifest.chunks.iter().map(explain).collect());
        Ok(Fetched { explained, ..report(out, &fetched) })
    }

    /// Which context, and the file to write.
    fn asked(&self) -> Result<(Asked<'_>, &Path)> {
        match (self.id_and_out.as_slice(), &self.tokens) {
            ([id, out], None) => Ok((Asked::Id(id.to_string_lossy().parse()?), out)),
            ([out], Some(tokens)) => Ok((Asked::Tokens(tokens), out)),
            (_, Some(_)) => Err(Error::invalid("pass an id or --tokens FILE, not both")),
            (_, None) => Err(Error::invalid("pass an id and a file to write, or --tokens FILE and a file to write")),
        }
    }

    async fn request(&self, client: &Client, asked: &Asked<'_>) -> Result<FetchRequest> {
        let spec = self.spec.as_deref().map(input::read_spec).transpose()?;
        let scope = spec.map(|spec| self.namespace.scope(spec));
        let what = match asked {
            Asked::Id(id) => FetchTarget::Chunk(client.inspect(id).await?.context.id),
            Asked::Tokens(path) => FetchTarget::Tokens(input::read_tokens(path)?),
        };
        let wants = Wants::new(0, self.qualities.unwrap_or_default());
        Ok(FetchRequest { scope, what, skip_chunks: 0, order: SendOrder::default(), wants })
    }
}

fn report(out: &Path, fetched: &FetchedKv) -> Fetched {
    let FetchedKv { manifest, report, .. } = fetched;
    let FetchReport { chunks, payload_bytes, transport, elapsed, time_to_first_byte, .. } = *report;
    Fetched {
        out: out.to_owned(),
        id: manifest.chunks.last().map(|chunk| chunk.id.to_string()).unwrap_or_default(),
        tokens: manifest.tokens.len(),
        chunks,
        raw_kv_bytes: manifest.spec.geometry.kv_bytes(manifest.tokens.len()) as u64,
        payload_bytes,
        transport,
        elapsed_ms: text::millis(elapsed),
        time_to_first_byte_ms: text::millis(time_to_first_byte),
        explained: None,
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
        if let Some(chunks) = &self.explained {
            chunks.iter().try_for_each(|chunk| writeln!(f, "{chunk}"))?;
            let mbit_per_sec = 8e-3 * self.payload_bytes as f64 / ms.max(1) as f64;
            writeln!(f, "first segment after {} ms; {mbit_per_sec:.0} Mbit/s in all", self.time_to_first_byte_ms)?;
        }
        write!(f, "{tokens} tokens, {payload} fetched in {ms} ms and decoded to {raw}, in {out}")
    }
}
