//! What went wrong, as the sentence that the user sees.

use std::{fmt, io::Write as _, process::ExitCode};

/// A message of one line, or of one line for each of several things that are wrong.
#[derive(Debug)]
pub(crate) struct Failure(String);

impl Failure {
    pub(crate) fn new(message: impl fmt::Display) -> Self {
        Failure(message.to_string())
    }

    /// Without line breaks and tabs: what a worker can say in one line.
    pub(crate) fn one_line(&self) -> String {
        self.0.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// Prints the message to stderr.
    pub(crate) fn report(&self) -> ExitCode {
        // If stderr is closed nobody reads it; the exit code still says that it failed.
        let _ = writeln!(std::io::stderr(), "elbow-isa: {}", self.0);
        ExitCode::FAILURE
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

impl From<elbow::Error> for Failure {
    fn from(error: elbow::Error) -> Self {
        Failure::new(error)
    }
}
