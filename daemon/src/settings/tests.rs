use std::fs;

use tempfile::{TempDir, tempdir};

use super::*;
use kvdepot_proto::ErrorKind;

/// Sources with a file in a directory of its own, which goes with the test.
fn sources(toml: &str) -> (TempDir, Sources) {
    let dir = tempdir().unwrap();
    let file = dir.path().join("kvdepotd.toml");
    fs::write(&file, toml).unwrap();
    let sources = Sources { data_dir: Some("/depot".into()), file: Some(file), ..Sources::default() };
    (dir, sources)
}

#[test]
fn later_sources_override_earlier_ones() {
    let (_dir, mut sources) =
        sources("[store]\nquota_bytes = \"10GiB\"\nchunk_tokens = 64\n[grpc]\nlisten = \"[::1]:0\"");
    let variable = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    sources.environment.extend([
        variable("KVDEPOT__STORE__CHUNK_TOKENS", "96"),
        variable("KVDEPOT__STORE__SYNC", "true"),
        variable("KVDEPOT_HOME", "/elsewhere"),
        variable("STORE__SYNC", "nonsense"),
    ]);
    sources.flags.push(variable("store.chunk_tokens", "128"));
    let settings = sources.load().unwrap();
    assert_eq!(settings.store.quota_bytes, ByteSize(10 << 30));
    assert_eq!((settings.store.chunk_tokens, settings.store.sync), (128, true));
    assert_eq!((settings.grpc.listen.as_str(), host(&settings.grpc.listen)), ("[::1]:0", "::1"));
    assert_eq!(settings.quic, Settings::in_dir("").quic);
    assert_eq!(settings.data_dir, PathBuf::from("/depot"));
}

#[test]
fn unknown_settings_are_refused_with_their_source() {
    let (_dir, from_file) = sources("[store]\nquota = 3");
    let error = from_file.load().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let message = error.to_string();
    assert!(message.starts_with("unknown setting store.quota in "), "{message}");
    assert!(message.contains("kvdepotd.toml: there are data_dir, "), "{message}");

    let (_dir, mut from_environment) = sources("");
    from_environment.environment.insert("KVDEPOT__STROE__SYNC".to_owned(), "true".to_owned());
    let error = from_environment.load().unwrap_err();
    assert!(error.to_string().starts_with("unknown setting stroe.sync in the environment"), "{error}");

    let (_dir, mut from_flags) = sources("");
    from_flags.flags.push(("store.sink".to_owned(), "true".to_owned()));
    let error = from_flags.load().unwrap_err();
    assert!(error.to_string().starts_with("unknown setting store.sink in the flags"), "{error}");
}

#[test]
fn values_that_do_not_fit_are_refused_by_name() {
    let cases = [
        ("[quic]\nmax_connections = 0", "quic.max_connections is 0, expected 1 or more"),
        ("[quic]\nmax_datagram_bytes = 1100", "quic.max_datagram_bytes is 1100, expected 1200..=65000"),
        ("[quic]\nmax_datagram_bytes = 65001", "quic.max_datagram_bytes is 65001, expected 1200..=65000"),
        ("[store]\nchunk_tokens = 100", "store.chunk_tokens is 100, expected a multiple of 32 up to 4096"),
        ("[store]\nquota_bytes = \"10 parsecs\"", "\"10 parsecs\" is no size in bytes"),
        ("[store]\nsync = \"maybe\"", "store.sync"),
        ("[quic]\nlisten = \"localhost\"", "quic.listen is \"localhost\", expected host:port"),
        ("[log]\nformat = \"xml\"", "log.format"),
        ("[log]\nfilter = \"a=b=c\"", "log.filter is \"a=b=c\""),
        ("[store", "kvdepotd.toml"),
    ];
    for (toml, expected) in cases {
        let (_dir, sources) = sources(toml);
        let error = sources.load().unwrap_err();
        assert!(error.to_string().contains(expected), "{toml}: {error}");
    }
}

#[test]
fn a_named_file_must_be_there_and_a_data_directory_must_be_set() {
    let missing = Sources { file: Some("/nowhere/kvdepotd.toml".into()), ..Sources::default() };
    assert!(missing.load().unwrap_err().to_string().contains("/nowhere/kvdepotd.toml"));
    let error = Sources::default().load().unwrap_err();
    assert!(error.to_string().starts_with("data_dir is not set"), "{error}");
}

#[test]
fn printed_settings_load_as_themselves() {
    let mut settings = Settings::in_dir("/depot");
    settings.store.quota_bytes = "1500MB".parse().unwrap();
    let (_dir, sources) = sources(&settings.to_toml());
    assert_eq!(sources.load().unwrap(), settings);
}
