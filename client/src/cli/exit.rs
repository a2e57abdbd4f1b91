//! What scripts can rely on: exit codes and names of errors.

use kvdepot_client::ErrorKind;

pub(super) const HELP: &str = "Exit codes:
  0  done
  1  internal or other error
  2  wrong usage or invalid input
  3  not found
  4  incompatible: another spec, level or format version
  5  corrupt bytes
  6  denied
  7  busy, quota reached, or no space left
  8  depot not reachable";

/// Name and exit code of a kind of error.
pub(super) fn of(kind: ErrorKind) -> (&'static str, u8) {
    match kind {
        ErrorKind::Internal => ("internal", 1),
        ErrorKind::Invalid => ("invalid", 2),
        ErrorKind::NotFound => ("not_found", 3),
        ErrorKind::Incompatible => ("incompatible", 4),
        ErrorKind::Corrupt => ("corrupt", 5),
        ErrorKind::Denied => ("denied", 6),
        ErrorKind::Busy => ("busy", 7),
        ErrorKind::Unavailable => ("unavailable", 8),
    }
}
