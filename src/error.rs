//! Every way in which a call can fail: which operand, what was expected, what was given.

use crate::operand::Operand;

/// Why a call failed. The call that returns it has recorded, submitted and written nothing: the caller's encoder is as it was.
///
/// In a browser elbow's own checks come as early, but wgpu's answers come after a call has returned: then a later call returns them as
/// [`Error::Late`], and the encoder of the call that failed is refused when it is submitted.
///
/// ```
/// use elbow::{Activation, Dtype, Error, Operand, View, affine::Forward};
/// let [x, w, y] = [[32, 64], [10, 63], [32, 10]].map(|shape| View::absent(&shape, Dtype::F32));
/// let error = Forward::new(Activation::RELU, x, w, y).request().unwrap_err();
/// assert!(matches!(error, Error::Shape { operand: Operand::W, .. }));
/// assert_eq!(error.to_string(), "w: expected [N, 64] ([out, in]) for x with 64 columns, got [10, 63]");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No adapter fits the choice.
    #[error("no GPU adapter: wanted {wanted}; found {}", list(found))]
    NoAdapter {
        /// The choice, environment variables included.
        wanted: String,
        /// The adapters that exist.
        found: Vec<String>,
    },
    /// The device is lost or destroyed: every further call fails too. Open another.
    #[error("the GPU device is lost: {reason}")]
    DeviceLost {
        /// The reason that the driver or wgpu gives.
        reason: String,
    },
    /// elbow's buffers would exceed [`crate::Gpu::memory_limit`], or the driver has no more memory.
    #[error("out of memory: {asked} bytes would be held, the limit is {limit} bytes")]
    OutOfMemory {
        /// Bytes that elbow would own with this allocation.
        asked: u64,
        /// The limit in bytes; if the driver refused, the bytes that elbow owns already.
        limit: u64,
    },
    /// A size is beyond a limit of this device, or of 32-bit indices.
    #[error("{what}: asked for {asked}, the limit is {limit}")]
    LimitExceeded {
        /// The limit, in words.
        what: String,
        /// The number that the call needs.
        asked: u64,
        /// The largest number that is possible.
        limit: u64,
    },
    /// An operand's shape does not fit the others.
    #[error("{operand}: expected {expected}, got {got}")]
    Shape {
        /// The operand that does not fit.
        operand: Operand,
        /// The shape that fits.
        expected: String,
        /// The shape that was given.
        got: String,
    },
    /// An operand is missing, not allowed in this call, or of the wrong type or strides.
    #[error("{operand}: expected {expected}, got {got}")]
    Operand {
        /// The operand that does not fit.
        operand: Operand,
        /// What the call needs.
        expected: String,
        /// What was given.
        got: String,
    },
    /// A buffer can't be this operand: it lacks a usage, is too short, mapped, destroyed or of another device.
    #[error("{operand}: expected {expected}, got {got}")]
    Buffer {
        /// The operand that does not fit.
        operand: Operand,
        /// What the buffer must be.
        expected: String,
        /// What it is.
        got: String,
    },
    /// The offset of a view is not a multiple of the element size.
    #[error("{operand}: expected an offset that is a multiple of {alignment} bytes, got {offset}")]
    Misaligned {
        /// The operand that does not fit.
        operand: Operand,
        /// The element size in bytes.
        alignment: u64,
        /// The offset that was given, in bytes.
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
        /// The activation's name, or `jet`, `gate`, `dropout`, `mlp`, `wgsl`, `sgd`, `rates`, `huber`, `softmax_cross_entropy`, `loss_scale`, `random`.
        of: String,
        /// The parameter's name.
        parameter: String,
        /// Its domain, in words.
        expected: String,
        /// The value that was given.
        got: String,
    },
    /// A text is not the name of an activation.
    #[error("activation {text:?}: expected {expected}")]
    UnknownActivation {
        /// The text.
        text: String,
        /// The names that exist, the most similar first.
        expected: String,
    },
    /// Every operand is right by itself, but this combination is not offered.
    #[error("{what} is not possible: {why}")]
    Unsupported {
        /// The combination.
        what: String,
        /// Why not, and what is possible instead.
        why: String,
    },
    /// A driver refused a kernel.
    #[error("kernel {kernel} did not compile: {message}")]
    ShaderCompile {
        /// The label of the kernel.
        kernel: String,
        /// The message of the compiler.
        message: String,
    },
    /// wgpu refused something that had passed elbow's checks, for instance a command that the host recorded in the same encoder.
    #[error("{operation}: {message}")]
    Wgpu {
        /// What elbow was doing.
        operation: String,
        /// The message of wgpu.
        message: String,
    },
    /// In a browser alone: wgpu reports now that it refused something of an earlier call. The call that returns this error did nothing.
    /// [`crate::Gpu::settled`] awaits these reports.
    #[error("{operation}, in an earlier call: {message}")]
    Late {
        /// What the earlier call was doing: compiling a kernel, creating a buffer, binding operands, submitting.
        operation: String,
        /// The message of wgpu.
        message: String,
    },
    /// The file of tuned choices could not be written (feature `tune`).
    #[error("tuning cache {path}: {message}")]
    Cache {
        /// The file.
        path: String,
        /// The message of the operating system.
        message: String,
    },
    /// A file of parameters does not fit the network, is damaged, or could not be read or written (feature `safetensors`).
    #[error("safetensors file{}: expected {expected}, got {got}", part(entry))]
    File {
        /// The tensor, or the entry of the metadata; empty if it is the file itself.
        entry: String,
        /// What is needed there.
        expected: String,
        /// What the file has.
        got: String,
    },
    /// The adapter's driver computes wrong numbers.
    #[error("{adapter} computes wrong numbers: {message}")]
    SelfTest {
        /// The adapter.
        adapter: String,
        /// Which number is wrong, and what it should be.
        message: String,
    },
    /// The device did not answer within [`crate::Gpu::timeout`]; submitted work may still finish.
    #[error("the GPU did not finish within {waited:?}")]
    Timeout {
        /// The timeout.
        waited: std::time::Duration,
    },
}

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

fn part(entry: &str) -> String {
    if entry.is_empty() { String::new() } else { format!(", {entry:?}") }
}

fn list(found: &[String]) -> String {
    if found.is_empty() { "none".to_owned() } else { found.join("; ") }
}
