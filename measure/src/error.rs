//! The errors of a measurement.

/// The result of a measurement.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a measurement has no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// elbow refused a call, or the device failed.
    #[error(transparent)]
    Elbow(#[from] elbow::Error),
    /// A result is wrong, so it is not timed.
    #[error("{what}: element {index} is {got}, the reference has {expected}; not timed")]
    Wrong {
        /// The case, the side (GPU or CPU) and the operand.
        what: String,
        /// The first wrong element of the sample.
        index: usize,
        /// The result of the device or the CPU.
        got: f32,
        /// The result of the reference.
        expected: f64,
    },
    /// The case needs more memory than a measurement may take.
    #[error("{what}: expected operands of at most {most} MiB together, got {got} MiB")]
    TooLarge {
        /// The case.
        what: String,
        /// The most that is allowed, in MiB.
        most: u64,
        /// What the case needs, in MiB.
        got: u64,
    },
    /// The device has no timestamp queries, or they are wrong.
    #[error("device time: {0}")]
    Clock(String),
}
