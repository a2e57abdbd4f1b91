//! The `kvdepot-engine` command: runs models over prompts and documents, and writes down their KV.

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
