//! What can go wrong while measuring.

/// The result of a measurement.
pub type Result<T> = std::result::Result<T, Error>;

/// Why there is no figure.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The library refused, or the device failed.
    #[error(transparent)]
    Elbow(#[from] elbow::Error),
    /// A result is wrong: it is not timed.
    #[error("{what}: element {index} is {got}, the reference has {expected}; not timed")]
    Wrong {
        /// Case, side and operand.
        what: String,
        /// Where it is wrong first, among those that were looked at.
        index: usize,
        /// What the device or the CPU gave.
        got: f32,
        /// What the reference gave.
        expected: f64,
    },
    /// More memory than a measurement should take.
    #[error("{what}: expected operands of at most {most} MiB together, got {got} MiB")]
    TooLarge {
        /// The case.
        what: String,
        /// MiB
        most: u64,
        /// MiB
        got: u64,
    },
    /// The device has no clock, or one that runs backwards.
    #[error("device time: {0}")]
    Clock(String),
}
