//! The library's own checks on the user's adapter, a group at a time, so that Python sees signals between them.

use elbow_verify::{
    Part,
    suite::{Group, Size, run_group},
};
use pyo3::{prelude::*, types::PyDict};

use crate::{errors::expected, gpu::Gpu};

/// The names of all groups, in the order in which they run.
#[pyfunction]
pub(crate) fn verify_groups() -> Vec<&'static str> {
    Group::ALL.into_iter().map(Group::name).collect()
}

/// Runs a group: its checks, those that failed, its largest error, and what is wrong in words.
#[pyfunction]
pub(crate) fn verify_group<'py>(py: Python<'py>, gpu: &Gpu, name: &str, full: bool) -> PyResult<Bound<'py, PyDict>> {
    let Some(group) = Group::ALL.into_iter().find(|group| group.name() == name) else {
        return Err(expected("group", &format!("one of {}", verify_groups().join(", ")), format!("{name:?}")));
    };
    let size = if full { Size::Full } else { Size::Quick };
    let report = py.detach(|| run_group(&gpu.device, group, size, Part::ALL, &mut |_, _| {}));
    let all = PyDict::new(py);
    all.set_item("group", name)?;
    all.set_item("checks", report.checks)?;
    all.set_item("failed", report.failed)?;
    all.set_item("seconds", report.seconds)?;
    all.set_item("worst", report.worst)?;
    all.set_item("wrong", report.broken.into_iter().map(|broken| broken.message).collect::<Vec<_>>())?;
    Ok(all)
}
