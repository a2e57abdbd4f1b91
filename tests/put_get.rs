//! A context that is put comes back bit for bit, over either plane, and is shown, listed and removed by its id.

use std::path::{Path, PathBuf};

use kvdepot_codec::Dtype;
use kvdepot_tests::{Cli, DepotProcess, KvSource, same_dump};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A depot with nothing in it, and a directory for files.
struct Bench {
    dir: TempDir,
    depot: DepotProcess,
}

impl Bench {
    fn start() -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let depot = DepotProcess::start(&dir.path().join("depot"), &[])?;
        Ok(Self { dir, depot })
    }

    fn cli(&self) -> Cli {
        Cli::of(&self.depot)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn dump(&self, num_tokens: usize) -> anyhow::Result<PathBuf> {
        let path = self.path(&format!("dump-{num_tokens}.safetensors"));
        KvSource::small(Dtype::Bf16, 11)?.write_dump(&path, num_tokens)?;
        Ok(path)
    }

    fn put(&self, dump: &Path) -> anyhow::Result<Value> {
        self.cli().json(["put".as_ref(), dump.as_os_str()])
    }
}

#[test]
fn a_context_comes_back_bit_for_bit_over_either_plane() -> anyhow::Result<()> {
    let bench = Bench::start()?;
    let dump = bench.dump(700)?;
    let stored = bench.put(&dump)?;
    assert_eq!(
        (&stored["chunks"], &stored["new_chunks"], &stored["transport"]),
        (&json!(3), &json!(3), &json!("quic"))
    );
    let id = stored["id"].as_str().unwrap_or_default();
    for transport in ["quic", "grpc"] {
        let out = bench.path(transport);
        let cli = bench.cli().with(["--transport", transport]);
        let fetched = cli.json(["get".as_ref(), id.as_ref(), out.as_os_str()])?;
        assert_eq!((&fetched["transport"], &fetched["tokens"]), (&json!(transport), &json!(700)));
        assert_eq!(fetched["payload_bytes"], stored["stored_bytes"]);
        assert!(same_dump(&dump, &out)?, "{transport}");
    }
    Ok(())
}

#[test]
fn a_put_over_grpc_stores_the_same_context() -> anyhow::Result<()> {
    let (quic, grpc) = (Bench::start()?, Bench::start()?);
    let over_quic = quic.put(&quic.dump(300)?)?;
    let dump = grpc.dump(300)?;
    let over_grpc = grpc.cli().with(["--transport", "grpc"]).json(["put".as_ref(), dump.as_os_str()])?;
    assert_eq!(over_grpc["transport"], "grpc");
    assert_eq!((&over_quic["id"], &over_quic["new_bytes"]), (&over_grpc["id"], &over_grpc["new_bytes"]));
    Ok(())
}

#[test]
fn a_depot_is_reached_over_tls_with_its_certificate() -> anyhow::Result<()> {
    let bench = Bench::start()?;
    let endpoints = bench.depot.endpoints();
    let url = format!("https://{}", endpoints.grpc);
    let cli = Cli::new().with(["--depot".into(), url.clone()]).with(["--ca".as_ref(), endpoints.ca.as_os_str()]);
    let status = cli.json(["status"])?;
    assert_eq!((&status["url"], &status["quic_address"]), (&json!(url), &json!(endpoints.quic)));
    Ok(())
}

#[test]
fn a_second_put_sends_nothing_and_a_longer_one_only_what_is_new() -> anyhow::Result<()> {
    let bench = Bench::start()?;
    let (short, long) = (bench.dump(512)?, bench.dump(800)?);
    let first = bench.put(&short)?;
    let again = bench.put(&short)?;
    assert_eq!((&again["id"], &again["new_chunks"], &again["sent_bytes"]), (&first["id"], &json!(0), &json!(0)));
    for (cli, new_chunks) in [(bench.cli(), 2), (bench.cli().with(["--transport", "grpc"]), 0)] {
        let longer = cli.json(["put".as_ref(), long.as_os_str()])?;
        assert_eq!((&longer["chunks"], &longer["new_chunks"]), (&json!(4), &json!(new_chunks)));
        assert_eq!(longer["sent_bytes"], longer["new_bytes"]);
    }
    Ok(())
}

#[test]
fn a_stored_context_is_listed_shown_and_removed_by_a_prefix_of_its_id() -> anyhow::Result<()> {
    let bench = Bench::start()?;
    let stored = bench.put(&bench.dump(300)?)?;
    let id = stored["id"].as_str().unwrap_or_default();
    let listing = bench.cli().json(["ls"])?;
    let [context] = listing["contexts"].as_array().map_or(&[][..], Vec::as_slice) else { panic!("{listing}") };
    assert_eq!((&context["id"], &context["tokens"], &context["level"]), (&stored["id"], &json!(300), &json!("q0")));
    assert_eq!(
        (&context["stored_bytes"], &context["raw_kv_bytes"]),
        (&stored["stored_bytes"], &stored["raw_kv_bytes"])
    );
    for digits in [7, 8, 64] {
        let shown = bench.cli().json(["show", &id[..digits]])?;
        assert_eq!((&shown["id"], &shown["is_leaf"]), (&stored["id"], &json!(true)));
        assert_eq!((&shown["spec"]["model"], shown["chain"].as_array().map(Vec::len)), (&json!("test-model"), Some(2)));
    }
    let table = bench.cli().run(["ls"])?.stdout;
    assert!(table.contains(&id[..12]) && table.contains("test-model"), "{table}");
    let removed = bench.cli().json(["rm", "--yes", &id[..9]])?;
    assert_eq!((&removed["deleted_chunks"], &removed["deleted_bytes"]), (&json!(2), &stored["stored_bytes"]));
    assert_eq!(bench.cli().json(["ls"])?["contexts"], json!([]));
    Ok(())
}

#[test]
fn tokens_find_the_longest_stored_prefix() -> anyhow::Result<()> {
    let bench = Bench::start()?;
    bench.put(&bench.dump(512)?)?;
    let source = KvSource::small(Dtype::Bf16, 11)?;
    let (tokens, spec) = (bench.path("tokens"), bench.path("spec.json"));
    std::fs::write(&tokens, json!(source.tokens(600)).to_string())?;
    std::fs::write(&spec, kvdepot_tests::spec_of(source.geometry).to_json())?;
    let query = ["--tokens".as_ref(), tokens.as_os_str(), "--spec".as_ref(), spec.as_os_str()];
    let found = bench.cli().json(std::iter::once("match".as_ref()).chain(query))?;
    assert_eq!((&found["outcome"], &found["matched_tokens"]), (&json!("partial hit"), &json!(512)));
    assert!(found["miss_reason"].as_str().is_some_and(|reason| reason.contains("512")), "{found}");
    let out = bench.path("prefix.safetensors");
    let arguments = std::iter::once("get".as_ref()).chain(query).chain([out.as_os_str()]);
    assert_eq!(bench.cli().json(arguments)?["tokens"], 512);
    assert!(same_dump(&bench.dump(512)?, &out)?);
    assert_eq!(bench.cli().json(["status"])?["hit_rate"], 512.0 / 600.0);
    Ok(())
}
