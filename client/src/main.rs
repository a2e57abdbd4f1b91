//! The `kvdepot` command: looks into depots, puts and gets contexts, runs the codec on files.

mod cli;

use std::alloc::System;

/// The system's allocator without a limit, counting: `codec bench` tells how much memory codecs take.
#[global_allocator]
static ALLOCATOR: cap::Cap<System> = cap::Cap::new(System, usize::MAX);

fn main() -> std::process::ExitCode {
    cli::main()
}
