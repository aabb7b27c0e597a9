//! Stdout: every command prints through here, and a result that could not be printed is a failure.

use std::io::{self, ErrorKind, Write as _};

use crate::failure::Failure;

/// Prints all of `text`.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    printed(io::stdout().write_all(text.as_bytes()))
}

/// What became of something that another library has printed. Nothing may be left in the buffer: what is lost at the exit is lost
/// without a word.
pub(crate) fn printed(result: io::Result<()>) -> Result<(), Failure> {
    match result.and_then(|()| io::stdout().flush()) {
        // Whoever closed the pipe (`elbow info | head -1`) has read what he wanted.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Failure::mismatch("stdout", "room to print", error)),
        _ => Ok(()),
    }
}
