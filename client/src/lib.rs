//! Rust client of the depot, and the kvdepot command.
