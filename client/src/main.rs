//! The `kvdepot` command: looks into depots, puts and gets contexts, runs the codec on files.

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
