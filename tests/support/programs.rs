//! The programs of the workspace, as built.

use std::path::PathBuf;

use anyhow::{Context, bail};

/// Path of a program of the workspace: beside the directory of the running test.
///
/// # Errors
/// When it is not built.
pub fn program(name: &str) -> anyhow::Result<PathBuf> {
    let test = std::env::current_exe().context("where the running test is")?;
    let target_dir =
        test.parent().and_then(|deps| deps.parent()).context("the running test is in no target directory")?;
    let path = target_dir.join(name);
    if !path.is_file() {
        bail!("{} is not built: run `cargo build --release --workspace --bins` first", path.display());
    }
    Ok(path)
}
