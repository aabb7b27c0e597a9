//! Failures, each printed as one line.

use std::{fmt, io::Write as _, process::ExitCode};

/// A message of one line.
#[derive(Debug)]
pub struct Failure(String);

/// The exit code of every failure.
const CODE: u8 = 2;

/// The longest message in characters: enough for all of ours. A longer one quotes a file, and is cut.
const LONGEST: usize = 1200;

impl Failure {
    /// Replaces line breaks and runs of spaces, which texts of wgpu, drivers and file names may have, by one space.
    pub(crate) fn new(message: impl fmt::Display) -> Self {
        let words: Vec<_> = message.to_string().split_whitespace().map(str::to_owned).collect();
        let mut line: String = words.join(" ").chars().map(|c| if c.is_control() { '?' } else { c }).collect();
        if line.chars().count() > LONGEST {
            line = line.chars().take(LONGEST).chain(" ...".chars()).collect();
        }
        Failure(line)
    }

    /// `what: expected .., got ..`
    pub(crate) fn mismatch(what: impl fmt::Display, expected: impl fmt::Display, got: impl fmt::Display) -> Self {
        Failure::new(format_args!("{what}: expected {expected}, got {got}"))
    }

    /// Prints the line to stderr.
    pub(crate) fn report(&self) -> ExitCode {
        // If stderr is closed, the exit code still tells of the failure.
        let _ = writeln!(std::io::stderr(), "elbow: {}", self.0);
        ExitCode::from(CODE)
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
        match &error {
            elbow::Error::NoAdapter { found, .. } if found.is_empty() => Failure::new(format_args!(
                "{error}; install a GPU driver, or the software one (Debian, Ubuntu: apt-get install mesa-vulkan-drivers), \
                 or use --device cpu"
            )),
            _ => Failure::new(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Failure;

    #[test]
    fn a_message_is_one_line_whatever_it_quotes() {
        assert_eq!(Failure::new("a\n  b\r\n\tc \u{1b}[1m").0, "a b c ?[1m", "line breaks and escapes must go");
        assert!(Failure::new("x".repeat(100_000)).0.len() < 2000, "a quote of a file must not fill the screen");
    }
}
