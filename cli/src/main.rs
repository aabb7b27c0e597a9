//! The `elbow` command.

#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    elbow_cli::run()
}
