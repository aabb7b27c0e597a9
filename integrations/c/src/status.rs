//! What a call returns, and the text of its error.

use std::{
    cell::RefCell,
    ffi::{CString, c_char},
    panic::{AssertUnwindSafe, catch_unwind},
};

use elbow_rs::Error;

/// What became of a call. The text of an error is in elbow_last_error(). After an error nothing was written, recorded or submitted.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It was done, or submitted.
    Ok = 0,
    /// A pointer, a shape, a type, a text or a combination of operands is not one that the call takes: the text names it.
    BadInput = 1,
    /// There is no GPU as asked for, or its driver computes wrong numbers.
    NoGpu = 2,
    /// The device is lost: close it, and open another.
    DeviceLost = 3,
    /// Not enough memory, or more than this device can have.
    OutOfMemory = 4,
    /// The driver refused something, or did not answer in time.
    Driver = 5,
    /// A mistake of elbow's: please report the text.
    Internal = 6,
}

thread_local! {
    static LAST: RefCell<CString> = RefCell::new(CString::default());
}

/// An error on its way out.
#[derive(Debug)]
pub struct Failure {
    pub(crate) status: Status,
    pub(crate) text: String,
}

impl Failure {
    /// An input that C gave and elbow never sees.
    pub(crate) fn input(text: impl Into<String>) -> Self {
        Failure { status: Status::BadInput, text: text.into() }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let status = match &error {
            Error::NoAdapter { .. } | Error::SelfTest { .. } => Status::NoGpu,
            Error::DeviceLost { .. } => Status::DeviceLost,
            Error::OutOfMemory { .. } | Error::LimitExceeded { .. } => Status::OutOfMemory,
            Error::ShaderCompile { .. }
            | Error::Wgpu { .. }
            | Error::Late { .. }
            | Error::Timeout { .. }
            | Error::Cache { .. } => Status::Driver,
            _ => Status::BadInput,
        };
        Failure { status, text: error.to_string() }
    }
}

/// Runs what a function does, and turns an error or a panic into a status.
pub(crate) fn guarded(f: impl FnOnce() -> Result<(), Failure>) -> Status {
    let outcome = catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        Err(Failure { status: Status::Internal, text: format!("elbow stopped: {text}") })
    });
    let (status, text) = match outcome {
        Ok(()) => return Status::Ok,
        Err(Failure { status, text }) => (status, text),
    };
    // A text with a zero in it would end there.
    LAST.with(|last| *last.borrow_mut() = CString::new(text.replace('\0', "")).unwrap_or_default());
    status
}

/// The error of the last call that failed on this thread, one line: operand, what was expected, what was given. Valid until the next call that fails on
/// this thread; never NULL, empty before the first.
#[unsafe(no_mangle)]
pub extern "C" fn elbow_last_error() -> *const c_char {
    LAST.with(|last| last.borrow().as_ptr())
}

/// The version of the library, as "0.1.0".
#[unsafe(no_mangle)]
pub extern "C" fn elbow_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}
