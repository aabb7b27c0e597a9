//! What C hands over: references, texts, arrays. NULL is an error that names the parameter; all else is the caller's promise.

use std::ffi::{CStr, c_char};

use crate::status::Failure;

type Result<T> = std::result::Result<T, Failure>;

fn null(name: &str) -> Failure {
    Failure::input(format!("{name}: expected a pointer, got NULL"))
}

/// # Safety
/// NULL, or a valid pointer for as long as the call runs.
pub(crate) unsafe fn some<'a, T>(name: &str, pointer: *const T) -> Result<&'a T> {
    // SAFETY: the caller's promise.
    unsafe { pointer.as_ref() }.ok_or_else(|| null(name))
}

/// # Safety
/// NULL, or a text with a zero at its end.
pub(crate) unsafe fn text<'a>(name: &str, pointer: *const c_char) -> Result<&'a str> {
    if pointer.is_null() {
        return Err(null(name));
    }
    // SAFETY: the caller's promise.
    let text = unsafe { CStr::from_ptr(pointer) };
    text.to_str().map_err(|_| Failure::input(format!("{name}: expected UTF-8, got other bytes")))
}

/// # Safety
/// NULL with a count of 0, or as many elements.
pub(crate) unsafe fn slice<'a, T>(name: &str, pointer: *const T, count: usize) -> Result<&'a [T]> {
    match (pointer.is_null(), count) {
        (_, 0) => Ok(&[]),
        (true, _) => Err(null(name)),
        // SAFETY: the caller's promise.
        (false, _) => Ok(unsafe { std::slice::from_raw_parts(pointer, count) }),
    }
}

/// # Safety
/// As [`slice`], and nobody else reads or writes the elements while the call runs.
pub(crate) unsafe fn slice_mut<'a, T>(name: &str, pointer: *mut T, count: usize) -> Result<&'a mut [T]> {
    match (pointer.is_null(), count) {
        (_, 0) => Ok(&mut []),
        (true, _) => Err(null(name)),
        // SAFETY: the caller's promise.
        (false, _) => Ok(unsafe { std::slice::from_raw_parts_mut(pointer, count) }),
    }
}

/// Where a call leaves a new handle.
pub(crate) struct Out<T>(*mut *mut T);

impl<T> Out<T> {
    /// # Safety
    /// NULL, or a pointer that can be written for as long as the call runs. NULL is written there at once.
    pub(crate) unsafe fn new(name: &str, pointer: *mut *mut T) -> Result<Self> {
        if pointer.is_null() {
            return Err(null(name));
        }
        // SAFETY: the caller's promise.
        unsafe { pointer.write(std::ptr::null_mut()) };
        Ok(Out(pointer))
    }

    /// Hands the handle over.
    pub(crate) fn put(self, value: T) {
        // SAFETY: `new` was given a pointer that can be written.
        unsafe { self.0.write(Box::into_raw(Box::new(value))) };
    }
}

/// # Safety
/// NULL, or a handle that [`Out::put`] has handed over and nobody has freed.
pub(crate) unsafe fn free<T>(handle: *mut T) {
    if !handle.is_null() {
        // SAFETY: the caller's promise.
        drop(unsafe { Box::from_raw(handle) });
    }
}
