//! The `kvdepot` command: looks into depots, puts and gets contexts, runs the codec on files.

mod cli;

use mimalloc::MiMalloc;

/// No limit, but counting: `codec bench` tells how much memory codecs take.
#[global_allocator]
static ALLOCATOR: cap::Cap<MiMalloc> = cap::Cap::new(MiMalloc, usize::MAX);

fn main() -> std::process::ExitCode {
    cli::main()
}
