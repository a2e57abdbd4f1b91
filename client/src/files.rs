//! Files of the user: read whole, written so that nothing half-written is ever visible.

use std::{
    fs::{File, Permissions},
    io,
    os::unix::fs::PermissionsExt,
    path::Path,
};

use tempfile::TempPath;

use crate::{Error, ErrorKind, Result};

/// Reads a file whole.
///
/// # Errors
/// `NotFound` where there is none, otherwise of the kind that the system's refusal calls for.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|error| {
        let kind = match error.kind() {
            io::ErrorKind::NotFound => ErrorKind::NotFound,
            other => kind_of(other),
        };
        Error::new(kind, format!("cannot read {}: {error}", path.display()))
    })
}

/// Reads a text file whole.
///
/// # Errors
/// As [`read`], and `Invalid` when it is not UTF-8.
pub fn read_text(path: &Path) -> Result<String> {
    String::from_utf8(read(path)?).map_err(|error| Error::invalid(format!("{} is not text: {error}", path.display())))
}

/// Lets `write` fill a temporary file beside `path`, syncs it and renames it to `path`; gives its size. When anything
/// fails, `path` is as it was.
///
/// # Errors
/// Those of `write`; `Busy` without space, `Denied` without permission, `Invalid` for a path that cannot be a file.
pub fn write_whole(path: &Path, write: impl FnOnce(&Path) -> Result<()>) -> Result<u64> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let temporary = tempfile::Builder::new()
        .prefix(".kvdepot-")
        .suffix(".part")
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(dir)
        .map_err(unwritable(path))?
        .into_temp_path();
    let permissions = temporary.metadata().map_err(unwritable(path))?.permissions();
    write(&temporary)?;
    replace(path, temporary, dir, permissions).map_err(unwritable(path))
}

/// Turns what the system says about writing `path` into an error.
pub fn unwritable(path: &Path) -> impl Fn(io::Error) -> Error + '_ {
    move |error| Error::new(kind_of(error.kind()), format!("cannot write {}: {error}", path.display()))
}

/// `permissions` are those that the user's umask gives a new file; a writer that made the file anew may have lost them.
fn replace(path: &Path, temporary: TempPath, dir: &Path, permissions: Permissions) -> io::Result<u64> {
    let file = File::open(&temporary)?;
    file.set_permissions(permissions)?;
    file.sync_all()?;
    temporary.persist(path)?;
    File::open(dir)?.sync_all()?;
    Ok(file.metadata()?.len())
}

fn kind_of(kind: io::ErrorKind) -> ErrorKind {
    match kind {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => ErrorKind::Denied,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => ErrorKind::Busy,
        io::ErrorKind::NotFound | io::ErrorKind::IsADirectory | io::ErrorKind::NotADirectory => ErrorKind::Invalid,
        io::ErrorKind::InvalidInput => ErrorKind::Invalid,
        _ => ErrorKind::Internal,
    }
}
