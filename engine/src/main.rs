//! The `kvdepot-engine` command: runs models over shared contexts that a depot keeps.

mod cli;

/// Gives freed pages to the next buffer, where the system's would hand them back and fault them in anew.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    cli::main()
}
