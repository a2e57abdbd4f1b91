//! What scripts can rely on: exit codes.

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
