//! Every way a call can fail, as one enum: which operand, what was expected, what came.

use crate::operand::Operand;

/// What went wrong. After an error nothing was recorded, submitted or written by the call that returns it: the caller's encoder
/// is as it was.
///
/// Natively that is all. In a browser elbow's own checks are as early, but wgpu's answers come after a call has returned:
/// what they say is [`Error::Late`], of an earlier call, which may have recorded into an encoder that will now be refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no adapter as it was asked for.
    #[error("no GPU adapter: wanted {wanted}; found {}", list(found))]
    NoAdapter {
        /// What was asked for (environment variables included).
        wanted: String,
        /// The adapters that are there.
        found: Vec<String>,
    },
    /// The device was lost or destroyed; nothing more can be done with it.
    #[error("the GPU device is lost: {reason}")]
    DeviceLost {
        /// The driver's or wgpu's own words.
        reason: String,
    },
    /// What elbow owns would pass its bound ([`crate::Gpu::memory_limit`]), or the driver has no more.
    #[error("out of memory: {asked} bytes would be held, the limit is {limit} bytes")]
    OutOfMemory {
        /// Bytes that would be held with what was asked for.
        asked: u64,
        /// The bound in force; where it was the driver that refused, what is held already.
        limit: u64,
    },
    /// A size is beyond what this device, or 32-bit indexing, can do.
    #[error("{what}: asked for {asked}, the limit is {limit}")]
    LimitExceeded {
        /// Which limit.
        what: String,
        /// What the call needs.
        asked: u64,
        /// What there is.
        limit: u64,
    },
    /// An operand's shape does not fit the others.
    #[error("{operand}: expected {expected}, got {got}")]
    Shape {
        /// The operand.
        operand: Operand,
        /// The shape that would fit.
        expected: String,
        /// The shape that came.
        got: String,
    },
    /// An operand is needed and missing, or given and of no use.
    #[error("{operand}: expected {expected}, got {got}")]
    Operand {
        /// The operand.
        operand: Operand,
        /// What the request calls for.
        expected: String,
        /// What came.
        got: String,
    },
    /// A buffer can't serve as this operand: missing usage flag, too short, mapped, destroyed, another device's.
    #[error("{operand}: expected {expected}, got {got}")]
    Buffer {
        /// The operand.
        operand: Operand,
        /// What the buffer must be.
        expected: String,
        /// What it is.
        got: String,
    },
    /// An offset is not a multiple of the element size.
    #[error("{operand}: expected an offset that is a multiple of {alignment} bytes, got {offset}")]
    Misaligned {
        /// The operand.
        operand: Operand,
        /// Bytes.
        alignment: u64,
        /// The offset that came.
        offset: u64,
    },
    /// Two operands overlap in memory, and one of them is written.
    #[error(
        "{operand} overlaps {other}: expected disjoint ranges, got bytes {range:?} and {other_range:?} of one buffer"
    )]
    Alias {
        /// The operand that is written.
        operand: Operand,
        /// The operand it overlaps.
        other: Operand,
        /// Byte range of `operand`.
        range: std::ops::Range<u64>,
        /// Byte range of `other`.
        other_range: std::ops::Range<u64>,
    },
    /// A parameter of an activation, of a network, of an update or of a loss scale is out of its domain.
    #[error("{of}: {parameter}: expected {expected}, got {got}")]
    BadParameter {
        /// The activation's name, or `mlp`, `sgd`, `loss_scale`.
        of: String,
        /// The parameter's name.
        parameter: String,
        /// Its domain.
        expected: String,
        /// What came.
        got: String,
    },
    /// A text names no activation.
    #[error("activation {text:?}: expected {expected}")]
    UnknownActivation {
        /// The text.
        text: String,
        /// What would have been understood.
        expected: String,
    },
    /// The request is well formed, but this combination is not offered, and why.
    #[error("{what} is not possible: {why}")]
    Unsupported {
        /// What was asked for.
        what: String,
        /// Why not, and what would do.
        why: String,
    },
    /// A driver refused a kernel.
    #[error("kernel {kernel} did not compile: {message}")]
    ShaderCompile {
        /// The kernel's label.
        kernel: String,
        /// The compiler's words.
        message: String,
    },
    /// wgpu refused something that passed our own checks: what a host recorded beside elbow's calls, for one.
    #[error("{operation}: {message}")]
    Wgpu {
        /// What elbow was doing.
        operation: String,
        /// wgpu's words.
        message: String,
    },
    /// wgpu has refused something of an earlier call, and has said so only now; the call that returns this did nothing. Only where
    /// wgpu answers late, in a browser: there this is how any refusal of wgpu's is learnt ([`crate::Gpu::settled`]).
    #[error("{operation}, in an earlier call: {message}")]
    Late {
        /// What the earlier call was doing: compiling a kernel, creating a buffer, binding operands, submitting.
        operation: String,
        /// wgpu's words.
        message: String,
    },
    /// What a tuner has measured could not be kept (feature `tune`).
    #[error("tuning cache {path}: {message}")]
    Cache {
        /// The file.
        path: String,
        /// The system's words.
        message: String,
    },
    /// The adapter's driver computes wrong numbers.
    #[error("{adapter} computes wrong numbers: {message}")]
    SelfTest {
        /// The adapter.
        adapter: String,
        /// Which number, and what it should be.
        message: String,
    },
    /// The device did not answer in time; the work may still finish.
    #[error("the GPU did not finish within {waited:?}")]
    Timeout {
        /// How long was waited.
        waited: std::time::Duration,
    },
}

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

fn list(found: &[String]) -> String {
    if found.is_empty() { "none".to_owned() } else { found.join("; ") }
}
