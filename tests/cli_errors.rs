//! Bad input gives a message with the values in it and an exit code that scripts can rely on, and leaves nothing behind.

use std::path::{Path, PathBuf};

use kvdepot_codec::{Dtype, Level, Origin, Rope, RopeScaling};
use kvdepot_proto::KvSpec;
use kvdepot_tests::{Cli, DepotProcess, KvSource, Outcome, spec_of};
use tempfile::TempDir;

/// A directory with a dump of 300 tokens in it.
struct Files {
    dir: TempDir,
    dump: PathBuf,
}

impl Files {
    fn make() -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let dump = dir.path().join("dump.safetensors");
        KvSource::small(Dtype::Bf16, 3)?.write_dump(&dump, 300)?;
        Ok(Self { dir, dump })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn encode(&self) -> anyhow::Result<Vec<u8>> {
        let kvd = self.path("sound.kvd");
        let outcome = codec(["encode".as_ref(), "--level=q0".as_ref(), self.dump.as_os_str(), kvd.as_os_str()])?;
        assert_eq!(outcome.code, 0, "{outcome:?}");
        Ok(std::fs::read(kvd)?)
    }

    fn names(&self) -> anyhow::Result<Vec<String>> {
        let entries = std::fs::read_dir(self.dir.path())?;
        let mut names = entries
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect::<anyhow::Result<Vec<_>>>()?;
        names.sort();
        Ok(names)
    }
}

fn codec<'a>(arguments: impl IntoIterator<Item = &'a std::ffi::OsStr>) -> anyhow::Result<Outcome> {
    Cli::new().run(std::iter::once("codec".as_ref()).chain(arguments))
}

/// Asserts exit code and kind, in text and in JSON, and that the message has every one of `values`.
fn assert_fails<S: AsRef<std::ffi::OsStr>>(
    cli: &Cli,
    arguments: &[S],
    (code, kind): (i32, &str),
    values: &[&str],
) -> anyhow::Result<()> {
    let text = cli.run(arguments)?;
    assert_eq!((text.code, text.stdout.as_str()), (code, ""), "{text:?}");
    let json = cli.clone().with(["--json"]).run(arguments)?;
    let error = &json.json()?["error"];
    assert_eq!((json.code, error["kind"].as_str()), (code, Some(kind)), "{json:?}");
    let message = error["message"].as_str().unwrap_or_default();
    for value in values {
        assert!(text.stderr.contains(value) && message.contains(value), "no {value:?} in {text:?} or {message:?}");
    }
    Ok(())
}

#[test]
fn an_unreachable_daemon_is_named_with_what_to_do() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let url = format!("unix:{}", dir.path().join("none.sock").display());
    let cli = Cli::new().with(["--depot", &url]);
    assert_fails(&cli, &["status"], (8, "unavailable"), &[&url, "No such file", "kvdepotd", "--depot"])
}

#[test]
fn an_unusable_url_is_refused_before_anything_is_tried() -> anyhow::Result<()> {
    for (url, complaint) in
        [("http://127.0.0.1:7440", "plaintext"), ("127.0.0.1:7440", "scheme"), ("https://127.0.0.1:7440", "--ca")]
    {
        assert_fails(&Cli::new().with(["--depot", url]), &["status"], (2, "invalid"), &[url, complaint])?;
    }
    Ok(())
}

#[test]
fn an_unknown_level_is_refused_with_those_there_are() -> anyhow::Result<()> {
    let files = Files::make()?;
    let out = files.path("out.kvd");
    let arguments =
        ["codec".as_ref(), "encode".as_ref(), "--level=q9".as_ref(), files.dump.as_os_str(), out.as_os_str()];
    assert_fails(&Cli::new(), &arguments, (2, "invalid"), &["q9", &Level::ALL.map(Level::name).join(", ")])?;
    assert_eq!(files.names()?, ["dump.safetensors"]);
    Ok(())
}

#[test]
fn a_missing_file_is_named() -> anyhow::Result<()> {
    let files = Files::make()?;
    let (gone, out) = (files.path("gone.kvd"), files.path("out.safetensors"));
    let arguments = ["codec".as_ref(), "decode".as_ref(), gone.as_os_str(), out.as_os_str()];
    assert_fails(&Cli::new(), &arguments, (3, "not_found"), &[&gone.display().to_string()])
}

#[test]
fn an_output_that_cannot_be_written_is_named() -> anyhow::Result<()> {
    let files = Files::make()?;
    let out = files.path("no/such/dir/out.kvd");
    let arguments =
        ["codec".as_ref(), "encode".as_ref(), "--level=q0".as_ref(), files.dump.as_os_str(), out.as_os_str()];
    assert_fails(&Cli::new(), &arguments, (2, "invalid"), &[&out.display().to_string()])
}

#[test]
fn a_truncated_or_flipped_file_is_corrupt_and_nothing_is_written() -> anyhow::Result<()> {
    let files = Files::make()?;
    let sound = files.encode()?;
    let before = files.names()?;
    let (bad, out) = (files.path("bad.kvd"), files.path("out.safetensors"));
    let mut flipped = sound.clone();
    flipped[sound.len() / 2] ^= 0x10;
    for bytes in [&sound[..sound.len() / 2], &sound[..7], &flipped] {
        std::fs::write(&bad, bytes)?;
        let decode = ["codec".as_ref(), "decode".as_ref(), bad.as_os_str(), out.as_os_str()];
        assert_fails(&Cli::new(), &decode, (5, "corrupt"), &["bad.kvd", "corrupt at byte"])?;
        let inspect = ["codec".as_ref(), "inspect".as_ref(), bad.as_os_str()];
        assert_fails(&Cli::new(), &inspect, (5, "corrupt"), &["bad.kvd"])?;
        std::fs::remove_file(&bad)?;
        assert_eq!(files.names()?, before);
    }
    Ok(())
}

#[test]
fn a_failed_decode_leaves_the_old_output_as_it_was() -> anyhow::Result<()> {
    let files = Files::make()?;
    let (bad, out) = (files.path("bad.kvd"), files.path("out.safetensors"));
    std::fs::write(&bad, b"KVD?")?;
    std::fs::write(&out, b"precious")?;
    let outcome = codec(["decode".as_ref(), bad.as_os_str(), out.as_os_str()])?;
    assert_eq!((outcome.code, std::fs::read(&out)?), (5, b"precious".to_vec()));
    Ok(())
}

#[test]
fn a_dump_without_tokens_or_spec_is_refused_with_the_way_out() -> anyhow::Result<()> {
    let files = Files::make()?;
    let depot = DepotProcess::start(&files.path("depot"), &[])?;
    let source = KvSource::small(Dtype::Bf16, 3)?;
    let bare = files.path("bare.safetensors");
    let origin = Origin::new(&Rope::plain(10_000.0), 0);
    kvdepot_codec::dump::write(&bare, &source.chunks(40)?, &origin)?;
    assert_fails(&Cli::of(&depot), &["put".as_ref(), bare.as_os_str()], (2, "invalid"), &["tokens", "--tokens FILE"])?;
    let tokens = files.path("tokens");
    std::fs::write(&tokens, "1, 2, 3")?;
    let arguments = ["put".as_ref(), files.dump.as_os_str(), "--tokens".as_ref(), tokens.as_os_str()];
    assert_fails(&Cli::of(&depot), &arguments, (2, "invalid"), &["300", "3"])
}

/// A dump as [`Files::make`] writes it, but with another scaling of RoPE.
fn with_scaling(files: &Files, scaling: &str) -> anyhow::Result<PathBuf> {
    let bytes = std::fs::read(&files.dump)?;
    let dump = kvdepot_codec::dump::KvDump::parse(&bytes)?;
    let mut origin = dump.origin().clone();
    origin.metadata.insert(Origin::ROPE_SCALING.to_owned(), scaling.to_owned());
    let path = files.path("scaled.safetensors");
    kvdepot_codec::dump::write(&path, &[dump.chunk(0, dump.num_tokens())?], &origin)?;
    Ok(path)
}

#[test]
fn a_rope_that_this_build_does_not_know_is_refused_where_keys_are_turned_back_only() -> anyhow::Result<()> {
    let files = Files::make()?;
    let dump = with_scaling(&files, r#"{"kind":"yarn","factor":4.0}"#)?;
    let out = files.path("out.kvd");
    let encode =
        |level| ["codec".as_ref(), "encode".as_ref(), "--level".as_ref(), level, dump.as_os_str(), out.as_os_str()];
    assert_fails(&Cli::new(), &encode("q3".as_ref()), (4, "incompatible"), &["scaled.safetensors", "yarn"])?;
    assert!(!out.exists());
    Cli::new().json(encode("q0".as_ref()))?;
    Ok(())
}

#[test]
fn a_dump_whose_rope_is_not_that_of_its_spec_is_refused() -> anyhow::Result<()> {
    let files = Files::make()?;
    let depot = DepotProcess::start(&files.path("depot"), &[])?;
    let scaling =
        RopeScaling::Llama3 { factor: 8.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_context: 8192.0 };
    let scaled = Origin::new(&Rope { theta: 10_000.0, scaling }, 0);
    let dump = with_scaling(&files, &scaled.metadata[Origin::ROPE_SCALING])?;
    let put = ["put".as_ref(), dump.as_os_str()];
    assert_fails(&Cli::of(&depot), &put, (4, "incompatible"), &["rope_scaling", "llama3", "default"])
}

#[test]
fn a_quota_smaller_than_the_context_is_refused_with_both_numbers() -> anyhow::Result<()> {
    let files = Files::make()?;
    let depot = DepotProcess::start(&files.path("depot"), &[("store.quota_bytes", "10000")])?;
    for transport in ["quic", "grpc"] {
        let cli = Cli::of(&depot).with(["--transport", transport]);
        assert_fails(&cli, &["put".as_ref(), files.dump.as_os_str()], (7, "busy"), &["10000"])?;
    }
    assert_eq!(Cli::of(&depot).json(["ls"])?["contexts"], serde_json::json!([]));
    Ok(())
}

#[test]
fn an_unknown_id_and_a_differing_spec_are_told_apart() -> anyhow::Result<()> {
    let files = Files::make()?;
    let depot = DepotProcess::start(&files.path("depot"), &[])?;
    let cli = Cli::of(&depot);
    let stored = cli.json(["put".as_ref(), files.dump.as_os_str()])?;
    let id = stored["id"].as_str().unwrap_or_default();
    let out = files.path("out.safetensors");
    let other_id = format!("{:04x}", !u16::from_str_radix(&id[..4], 16)?);
    assert_fails(&cli, &["get".as_ref(), other_id.as_ref(), out.as_os_str()], (3, "not_found"), &[&other_id])?;
    assert_fails(&cli, &["show", "abc"], (2, "invalid"), &["abc", "4 to 64"])?;

    let spec = files.path("spec.json");
    write_spec(&spec, |spec| spec.rope.theta = 20_000.0)?;
    let arguments = ["get".as_ref(), id.as_ref(), "--spec".as_ref(), spec.as_os_str(), out.as_os_str()];
    assert_fails(&cli, &arguments, (4, "incompatible"), &["rope.theta", "10000", "20000"])?;
    assert!(!out.exists());

    let tokens = files.path("tokens");
    std::fs::write(&tokens, format!("{:?}", KvSource::small(Dtype::Bf16, 3)?.tokens(300)))?;
    let query = ["--tokens".as_ref(), tokens.as_os_str(), "--spec".as_ref(), spec.as_os_str(), out.as_os_str()];
    let arguments: Vec<_> = std::iter::once("get".as_ref()).chain(query).collect();
    assert_fails(&cli, &arguments, (3, "not_found"), &["rope.theta", "10000", "20000"])
}

fn write_spec(path: &Path, change: impl FnOnce(&mut KvSpec)) -> anyhow::Result<()> {
    let mut spec = spec_of(KvSource::small(Dtype::Bf16, 3)?.geometry);
    change(&mut spec);
    Ok(std::fs::write(path, spec.to_json())?)
}

#[test]
fn removing_without_a_terminal_needs_yes() -> anyhow::Result<()> {
    let files = Files::make()?;
    let depot = DepotProcess::start(&files.path("depot"), &[])?;
    let cli = Cli::of(&depot);
    let stored = cli.json(["put".as_ref(), files.dump.as_os_str()])?;
    let id = stored["id"].as_str().unwrap_or_default();
    assert_fails(&cli, &["rm", id], (2, "invalid"), &["--yes"])?;
    assert_eq!(cli.json(["status"])?["contexts"], 1);
    Ok(())
}
