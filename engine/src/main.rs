//! The `kvdepot-engine` command: runs models over shared contexts that a depot keeps.

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
