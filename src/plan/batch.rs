//! Batches: the plan of one layer, with each dispatch run for many layers. A kernel has the tiles of one layer; the accessors of its
//! operands add the distance between layers.

use super::{
    Along, Caps, Dispatch, Pin, Plan, SCRATCH, Use, affine,
    builder::{MOST_WORKGROUPS, workgroups},
    double,
    pieces::{self, MOST_PIECES},
};
use crate::{
    error::{Error, Result},
    request::{AffineRequest, BackwardRequest, DoubleBackwardRequest},
    rules::Resolved,
    storage::Storage,
};

/// The plan of y = act(x·Wᵀ + b; α) (+ residual). `aligned` says that every operand starts at a multiple of 16 bytes;
/// `residual_in_place` says that the residual and y are the same memory.
pub fn forward(
    request: &AffineRequest,
    aligned: bool,
    residual_in_place: bool,
    caps: &Caps,
    pin: &Pin,
) -> Result<Plan> {
    forward_batch(1, &request.resolve()?, aligned, residual_in_place, caps, pin)
}

/// [`forward`] for a batch; the request is that of one layer.
pub fn forward_batch(
    batch: usize,
    request: &Resolved<AffineRequest>,
    aligned: bool,
    residual_in_place: bool,
    caps: &Caps,
    pin: &Pin,
) -> Result<Plan> {
    let aligned = aligned && request.storage.keeps_fours();
    let one = affine::forward(request, aligned, residual_in_place, caps, pin)?;
    finished(one, batch as u64, &request.storage, caps)
}

/// The plan of every wanted gradient; `aligned` as for [`forward`].
pub fn backward(request: &BackwardRequest, aligned: bool, caps: &Caps, pin: &Pin) -> Result<Plan> {
    backward_batch(1, &request.resolve()?, aligned, caps, pin)
}

/// [`backward`] for a batch; the request is that of one layer.
pub fn backward_batch(
    batch: usize,
    request: &Resolved<BackwardRequest>,
    aligned: bool,
    caps: &Caps,
    pin: &Pin,
) -> Result<Plan> {
    let storage = &request.affine.storage;
    let one = affine::backward(request, aligned && storage.keeps_fours(), caps, pin)?;
    finished(one, batch as u64, storage, caps)
}

/// The plan of every wanted gradient of a double backward; `aligned` as for [`forward`].
pub fn double_backward(request: &DoubleBackwardRequest, aligned: bool, caps: &Caps, pin: &Pin) -> Result<Plan> {
    double_backward_batch(1, &request.resolve()?, aligned, caps, pin)
}

/// [`double_backward`] for a batch; the request is that of one layer.
pub fn double_backward_batch(
    batch: usize,
    request: &Resolved<DoubleBackwardRequest>,
    aligned: bool,
    caps: &Caps,
    pin: &Pin,
) -> Result<Plan> {
    let storage = &request.affine.storage;
    let one = double::double_backward(request, aligned && storage.keeps_fours(), caps, pin)?;
    finished(one, batch as u64, storage, caps)
}

/// Runs as many layers in each dispatch as bindings, scratch and the time of a dispatch allow. A layer that is too large by itself is cut
/// into pieces, layer by layer. Later groups of layers use the same scratch again.
fn finished(one: Plan, batch: u64, storage: &Storage, caps: &Caps) -> Result<Plan> {
    let strides: Vec<Vec<u64>> =
        one.dispatches.iter().map(|d| d.uses.iter().map(|u| stride(&one, u, storage)).collect()).collect();
    let together = one
        .dispatches
        .iter()
        .zip(&strides)
        .flat_map(|(dispatch, strides)| most(dispatch, strides, caps))
        .fold(batch, u64::min)
        .max(1);
    let groups = batch.div_ceil(together);
    let dispatches = groups.saturating_mul(one.dispatches.len() as u64);
    if batch > 1 && dispatches > MOST_PIECES {
        return Err(Error::LimitExceeded {
            what: "dispatches of one call".into(),
            asked: dispatches,
            limit: MOST_PIECES,
        });
    }
    let mut plan = Plan { dispatches: Vec::new(), ..one };
    for group in 0..groups {
        let first = group * together;
        for (dispatch, strides) in one.dispatches.iter().zip(&strides) {
            plan.dispatches.push(several(dispatch, strides, first, together.min(batch - first))?);
        }
    }
    pieces::cut(&mut plan, caps)?;
    Ok(plan)
}

/// Elements from a layer's part of an operand to the next layer's part.
fn stride(one: &Plan, part: &Use, storage: &Storage) -> u64 {
    match storage.batch_stride(part.operand) {
        // Rounded up, so that vec4 of the next layer are aligned.
        _ if SCRATCH.contains(&part.operand) => one.scratch(part.operand).next_multiple_of(4),
        Some(stride) => stride.into(),
        None => part.len,
    }
}

/// The most layers in one dispatch by each limit; 0 if one layer alone is too large.
fn most(dispatch: &Dispatch, strides: &[u64], caps: &Caps) -> Vec<u64> {
    let tiles = u64::from(dispatch.params.tiles - dispatch.params.first);
    let work = tiles.saturating_mul(dispatch.cut.work);
    let mut most = vec![u64::from(MOST_WORKGROUPS) / tiles.max(1), caps.max_work / work.max(1)];
    for ((slot, part), &stride) in dispatch.kernel.slots.iter().zip(&dispatch.uses).zip(strides) {
        let scratch = if SCRATCH.contains(&part.operand) { caps.max_scratch } else { u64::MAX };
        // Indices are u32, also that of the first element of each layer.
        let elements = (caps.max_binding.min(scratch) / slot.bytes()).min(u64::from(u32::MAX));
        // The last layer may be longer than its stride.
        let last = part.origin + part.len;
        most.push(elements.saturating_sub(last).checked_div(stride).map_or(u64::MAX, |others| others + 1));
    }
    most
}

/// The dispatch for `count` layers, beginning with layer `first`.
fn several(dispatch: &Dispatch, strides: &[u64], first: u64, count: u64) -> Result<Dispatch> {
    let mut several = dispatch.clone();
    for ((part, &stride), step) in several.uses.iter_mut().zip(strides).zip(&mut several.params.batch_stride) {
        if !SCRATCH.contains(&part.operand) {
            part.origin += first * stride;
        }
        if count > 1 {
            part.len += (count - 1) * stride;
            part.along = Along::All;
            *step = stride as u32;
        }
    }
    if count > 1 {
        several.kernel.flags.insert("BATCHED", 1);
        several.params.batch = workgroups(count)?;
    }
    Ok(several)
}
