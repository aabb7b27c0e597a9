//! Stdout: every command prints through this module, because a result that cannot be printed is a failure.

use std::io::{self, ErrorKind, Write as _};

use crate::failure::Failure;

/// Prints all of `text`; an error if stdout cannot be written.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    printed(io::stdout().write_all(text.as_bytes()))
}

/// The result of printing by another library. Flushes, because an error of a flush at exit would not be reported.
pub(crate) fn printed(result: io::Result<()>) -> Result<(), Failure> {
    match result.and_then(|()| io::stdout().flush()) {
        // A reader that closed the pipe (`elbow info | head -1`) has all it wanted: no failure.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Failure::mismatch("stdout", "room to print", error)),
        _ => Ok(()),
    }
}
