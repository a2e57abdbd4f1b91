//! The file of results: whole lines, appended and synced.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use kvdepot_client::{Error, Result, files};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// A line of the file of results.
///
/// Source: the output format of OpenAI's Batch API; `line` is ours, and names the line of a request without a `custom_id`.
#[derive(Debug, Serialize)]
pub(super) struct ResultLine {
    pub(super) id: String,
    pub(super) custom_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) line: Option<usize>,
    pub(super) response: Option<Value>,
    pub(super) error: Option<Value>,
}

/// Which request a line of results is of.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
pub(super) struct Done {
    pub(super) custom_id: Option<String>,
    pub(super) line: Option<usize>,
}

/// What there may be at the path of the results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Existing {
    /// Nothing.
    Refuse,
    /// Results of this batch, to go on with.
    Resume,
}

/// A file of results, open at its end.
pub(super) struct Output {
    path: PathBuf,
    file: File,
    /// Bytes of whole lines that are synced.
    synced_bytes: u64,
    /// Lines that are not written.
    pending: Vec<u8>,
}

impl Output {
    /// Opens the file, and tells which results it has. The rest of a line that was cut off is dropped.
    ///
    /// # Errors
    /// `Invalid` when there is something and it is not to be gone on with, or is not results; otherwise as the system says.
    pub(super) fn open(path: &Path, existing: Existing) -> Result<(Self, HashSet<Done>)> {
        let unwritable = files::unwritable(path);
        let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let mut file = options.map_err(&unwritable)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(&unwritable)?;
        if existing == Existing::Refuse && !bytes.is_empty() {
            let what = path.display();
            return Err(Error::invalid(format!(
                "{what} is not empty: pass --resume to go on with it, or name another file"
            )));
        }
        let whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        let done = bytes[..whole].split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
        let done = done.map(serde_json::from_slice).collect::<std::result::Result<_, _>>();
        let done =
            done.map_err(|error| Error::invalid(format!("{} is not a file of results: {error}", path.display())))?;
        file.set_len(whole as u64).and_then(|()| file.seek(SeekFrom::End(0))).map_err(&unwritable)?;
        Ok((Self { path: path.to_owned(), file, synced_bytes: whole as u64, pending: Vec::new() }, done))
    }

    /// Adds a line, which [`Self::sync`] writes.
    pub(super) fn push(&mut self, line: &ResultLine) {
        self.pending.extend_from_slice(json!(line).to_string().as_bytes());
        self.pending.push(b'\n');
    }

    /// Writes what was added. After it the lines are on the disk; when it fails, the file has whole lines only, as far as the
    /// system lets it be cut.
    ///
    /// # Errors
    /// `Busy` without space, otherwise as the system says.
    pub(super) fn sync(&mut self) -> Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let written = self.file.write_all(&self.pending).and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            let _ = self.file.set_len(self.synced_bytes);
            return Err(files::unwritable(&self.path)(error));
        }
        self.synced_bytes += self.pending.len() as u64;
        self.pending.clear();
        Ok(())
    }
}
