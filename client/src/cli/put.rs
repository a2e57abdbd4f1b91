//! `kvdepot put`.

use std::{fmt, path::PathBuf, time::Instant};

use clap::Args;
use kvdepot_client::{Client, EncodedChunk, Error, ErrorKind, Result, Transport, files};
use kvdepot_codec::{Level, Origin, Rope, dump::KvDump};
use kvdepot_proto::KvSpec;
use serde::Serialize;

use super::{
    chunks::ChunkEncoder,
    input::{self, NamespaceArgs},
    progress, text,
};

#[derive(Args)]
pub(super) struct PutArgs {
    /// KV dump
    #[arg(value_name = "DUMP.safetensors")]
    dump: PathBuf,
    /// Level to encode at
    #[arg(long, default_value = "q0")]
    level: Level,
    #[command(flatten)]
    namespace: NamespaceArgs,
    /// Token ids, instead of the dump's metadata `tokens`
    #[arg(long, value_name = "FILE")]
    tokens: Option<PathBuf>,
    /// Spec in JSON, instead of the dump's metadata `kv_spec`
    #[arg(long, value_name = "FILE")]
    spec: Option<PathBuf>,
}

#[derive(Serialize)]
pub(super) struct Stored {
    id: String,
    tokens: usize,
    chunks: usize,
    level: &'static str,
    raw_kv_bytes: u64,
    stored_bytes: u64,
    ratio: f64,
    new_chunks: usize,
    new_bytes: u64,
    sent_bytes: u64,
    transport: Transport,
    encode_ms: u64,
    put_ms: u64,
}

impl PutArgs {
    pub(super) async fn run(&self, client: &Client) -> Result<Stored> {
        let bytes = files::read(&self.dump)?;
        let dump = KvDump::parse(&bytes).map_err(|error| Error::from(error).context(self.dump.display()))?;
        let tokens = input::dump_tokens(self.tokens.as_deref(), dump.metadata())?;
        let spec = input::dump_spec(self.spec.as_deref(), dump.metadata())?;
        check(&dump, &tokens, &spec)?;
        let chunk_tokens = client.chunk_tokens().await?;
        let started = Instant::now();
        let rope = || Rope::try_from(&spec.rope);
        let chunks = encode(&ChunkEncoder::new(&dump, self.level, chunk_tokens, rope)?)?;
        let encoded = Instant::now();
        let bar = progress::transfer("put");
        let scope = self.namespace.scope(spec);
        let report = client.put(&scope, &tokens, &chunks, |progress| {
            bar.set_length(progress.total_bytes);
            bar.set_position(progress.sent_bytes);
        });
        let report = report.await?;
        bar.finish_and_clear();
        let raw_kv_bytes = dump.geometry().kv_bytes(tokens.len()) as u64;
        let stored_bytes = chunks.iter().map(|chunk| chunk.content().stored_bytes()).sum();
        Ok(Stored {
            id: report.chunk_ids.last().map(ToString::to_string).unwrap_or_default(),
            tokens: tokens.len(),
            chunks: chunks.len(),
            level: self.level.name(),
            raw_kv_bytes,
            stored_bytes,
            ratio: text::ratio(raw_kv_bytes, stored_bytes),
            new_chunks: report.new_chunks,
            new_bytes: report.new_bytes,
            sent_bytes: report.sent_bytes,
            transport: report.transport,
            encode_ms: text::millis(encoded - started),
            put_ms: text::millis(encoded.elapsed()),
        })
    }
}

fn encode(encoder: &ChunkEncoder<'_>) -> Result<Vec<EncodedChunk>> {
    let bar = progress::chunks("encode", encoder.num_chunks());
    let chunks = encoder.encode_all(|| bar.inc(1));
    bar.finish_and_clear();
    chunks
}

/// Holds the dump against what it is said to be.
fn check(dump: &KvDump<'_>, tokens: &[u32], spec: &KvSpec) -> Result<()> {
    let incompatible = |message| Err(Error::new(ErrorKind::Incompatible, message));
    if dump.num_tokens() != tokens.len() {
        return Err(Error::invalid(format!(
            "the dump has KV of {} tokens, {} are named",
            dump.num_tokens(),
            tokens.len()
        )));
    }
    if *dump.geometry() != spec.geometry {
        return incompatible(format!("the dump is {:?}, its spec says {:?}", dump.geometry(), spec.geometry));
    }
    if dump.rope_theta() != spec.rope.theta {
        return incompatible(format!(
            "the dump has rope_theta {}, its spec says {}",
            dump.rope_theta(),
            spec.rope.theta
        ));
    }
    check_scaling(dump, spec)?;
    if dump.first_position() != 0 {
        return Err(Error::invalid(format!(
            "the dump begins at position {}, a context at position 0",
            dump.first_position()
        )));
    }
    Ok(())
}

/// Holds the scaling of RoPE that a dump states, where it does, against its spec.
fn check_scaling(dump: &KvDump<'_>, spec: &KvSpec) -> Result<()> {
    let Some(scaling) = dump.metadata().get(Origin::ROPE_SCALING) else { return Ok(()) };
    let stated = match dump.origin().rope() {
        // Of a kind that this build does not compute, the spec alone decides.
        Err(error) if error.kind() == kvdepot_codec::ErrorKind::Incompatible => None,
        stated => Some(stated?),
    };
    if stated != Rope::try_from(&spec.rope).ok() {
        let rope = &spec.rope;
        let message = format!("the dump has rope_scaling {scaling}, its spec {:?} {:?}", rope.kind, rope.parameters);
        return Err(Error::new(ErrorKind::Incompatible, message));
    }
    Ok(())
}

impl fmt::Display for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tokens, level, chunks, new_chunks, ratio, .. } = self;
        let (raw, stored) = (text::bytes(self.raw_kv_bytes), text::bytes(self.stored_bytes));
        writeln!(f, "{}", self.id)?;
        writeln!(f, "{tokens} tokens at {level}: {raw} became {stored}, {ratio:.2}x smaller")?;
        let sent = text::bytes(self.sent_bytes);
        write!(f, "{new_chunks} of {chunks} chunks are new, {sent} sent in {} ms", self.put_ms)
    }
}
