//! Nobody gets a lossy context who did not ask for one.

use kvdepot_codec::{Dtype, Level};
use kvdepot_tests::{Cli, DepotProcess, KvSource, spec_of};
use serde_json::json;

#[test]
fn lossy_contexts_are_put_and_found_in_lossy_scopes_only() -> anyhow::Result<()> {
    Level::ALL.into_iter().filter(|level| !level.is_lossless()).try_for_each(lossy_scopes_only)
}

fn lossy_scopes_only(level: Level) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let depot = DepotProcess::start(&dir.path().join("depot"), &[])?;
    let cli = Cli::of(&depot);
    let source = KvSource::small(Dtype::Bf16, 1)?;
    let [dump, tokens, spec] = ["dump.safetensors", "tokens", "spec.json"].map(|name| dir.path().join(name));
    source.write_dump(&dump, 300)?;
    std::fs::write(&tokens, json!(source.tokens(300)).to_string())?;
    std::fs::write(&spec, spec_of(source.geometry).to_json())?;

    let put = ["put".as_ref(), "--level".as_ref(), level.name().as_ref(), dump.as_os_str()];
    let refused = cli.run(put)?;
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.stderr.contains(level.name()) && refused.stderr.contains("lossy"), "{refused:?}");
    let stored = cli.json(put.into_iter().chain(["--lossy".as_ref()]))?;
    assert_eq!(stored["level"], level.name());

    let query = ["match".as_ref(), "--tokens".as_ref(), tokens.as_os_str(), "--spec".as_ref(), spec.as_os_str()];
    assert_eq!(cli.json(query)?["outcome"], "miss");
    assert_eq!(cli.json(query.into_iter().chain(["--lossy".as_ref()]))?["outcome"], "hit");

    let (id, out) = (stored["id"].as_str().unwrap_or_default(), dir.path().join("out.safetensors"));
    let get = ["get".as_ref(), id.as_ref(), "--spec".as_ref(), spec.as_os_str(), out.as_os_str()];
    let refused = cli.run(get)?;
    assert_eq!(refused.code, 4, "{refused:?}");
    assert_eq!(cli.json(get.into_iter().chain(["--lossy".as_ref()]))?["tokens"], 300);
    Ok(())
}
