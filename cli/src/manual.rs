//! `elbow completions` and `elbow man`: what clap's own crates make of the command line.

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::{args::Args, failure::Failure, out};

/// Prints the completions of a shell.
pub(crate) fn completions(shell: Shell) -> Result<(), Failure> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "elbow", &mut text);
    out::print(&String::from_utf8_lossy(&text))
}

/// Prints the manual page of the command, or of one of its commands.
pub(crate) fn page(of: Option<&str>) -> Result<(), Failure> {
    let mut whole = Args::command();
    // So that the pages name the commands in full.
    whole.build();
    let command = match of {
        None => whole,
        Some(name) => {
            let known = || whole.get_subcommands().map(clap::Command::get_name).collect::<Vec<_>>().join(", ");
            let found = whole.find_subcommand(name).cloned();
            found.ok_or_else(|| Failure::mismatch("elbow man", format_args!("a command: {}", known()), name))?
        }
    };
    let mut text = Vec::new();
    clap_mangen::Man::new(command).render(&mut text).map_err(Failure::new)?;
    out::print(&String::from_utf8_lossy(&text))
}
