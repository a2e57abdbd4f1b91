//! Workspace tests: one promise per file.
