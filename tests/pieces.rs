//! Dispatches cut into pieces: no piece is longer than the device bears, no window longer than a binding, every tile
//! is in one piece and every element it touches in the windows. Without a GPU; `tests/gpu/large.rs` runs such plans.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use elbow::{
    Activation, Error, Operand, Saved, Want, WeightLayout,
    kernel::KernelFile,
    plan::{self, Along, Caps, DeviceClass, Dispatch, Pin, Plan},
    request::{AffineRequest, BackwardRequest, Gradients},
    storage::Storage,
};
use proptest::prelude::*;

const SOFTWARE: Caps = Caps::defaults(DeviceClass::Software);
/// No limit that matters: what the plan would be in one piece.
const BOUNDLESS: Caps = SOFTWARE.max_binding(u64::MAX / 8).max_scratch(u64::MAX / 8).max_work(u64::MAX);

fn backward(m: usize, n: usize, k: usize, layout: WeightLayout, gap: usize) -> BackwardRequest {
    let want = Want::Overwrite;
    let usual = AffineRequest::new(m, n, k, Activation::leaky_relu(0.5).unwrap());
    let affine = usual.layout(layout).saved(Saved::Z);
    BackwardRequest::new(
        affine.storage(elbow_verify::with_gaps(&affine, gap)),
        Gradients::default().x(want).w(want).b(want),
    )
}

/// The elements that one tile touches, worked out from the tile's number alone, element by element of what it covers.
fn touched(dispatch: &Dispatch, tile: u32, along: Along, len: u64) -> Option<std::ops::Range<u64>> {
    let p = &dispatch.params;
    let plane = if dispatch.cut.splits { p.split_tiles } else { u32::MAX };
    let (split, tile) = (u64::from(tile / plane), tile % plane);
    let (row, col) = (u64::from(tile / p.tiles_cols), u64::from(tile % p.tiles_cols));
    let span = |number: u64, each: u64, all: u32, step: u64| {
        let (last, end) = (((number + 1) * each).min(u64::from(all)) - 1, u64::from(all - 1) * step);
        // The length of a row: more than a step where rows overlap.
        number * each * step..last * step + len.saturating_sub(end).max(step)
    };
    match along {
        Along::All => None,
        Along::Rows(step) => Some(span(row, dispatch.cut.rows, p.rows, step)),
        Along::Cols(step) => Some(span(col, dispatch.cut.cols, p.cols, step)),
        Along::Reduction(step) => Some(span(split, u64::from(p.chunk), p.k, step)),
        Along::Splits(step) => Some(split * step..(split + 1) * step),
    }
}

/// Compares a plan with the one that has no bounds: the same tiles in the same order, each within its piece's windows.
fn check(plan: &Plan, whole: &Plan, caps: &Caps) {
    let mut pieces = plan.dispatches.iter();
    for dispatch in &whole.dispatches {
        let mut next = dispatch.params.first;
        while next < dispatch.params.tiles {
            let piece = pieces.next().expect("a piece for every tile");
            assert_eq!((&piece.kernel, piece.params.first), (&dispatch.kernel, next), "{plan}");
            assert!(piece.params.tiles > next);
            for (part, all) in piece.uses.iter().zip(&dispatch.uses) {
                assert!(part.len * 4 <= caps.max_binding && part.first.is_multiple_of(4), "{plan}");
                assert!(part.first + part.len <= all.len, "a window past the end of {}: {plan}", part.operand);
                for tile in piece.params.first..piece.params.tiles {
                    let Some(range) = touched(dispatch, tile, part.along, all.len) else { continue };
                    // Behind the last row there is no gap.
                    let range = range.start..range.end.min(all.len);
                    let window = part.first..part.first + part.len;
                    assert!(window.start <= range.start && range.end <= window.end, "{range:?} in {window:?}: {plan}");
                }
            }
            let count = u64::from(piece.params.tiles - piece.params.first);
            assert!(count == 1 || count * piece.cut.work <= caps.max_work, "{plan}");
            next = piece.params.tiles;
        }
    }
    assert!(pieces.next().is_none());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn pieces_cover_every_tile_once(
        m in 1..200usize, n in 1..200usize, k in 1..200usize, in_out: bool, aligned: bool,
        binding in 10..20u32, work in 10..24u32, tile in 0..8usize, gap in 0..6usize,
    ) {
        let layout = if in_out { WeightLayout::InOut } else { WeightLayout::OutIn };
        let caps = SOFTWARE.max_binding(1 << binding).max_work(1 << work);
        let pin = Pin::default().tile(tile).splits(1);
        let request = backward(m, n, k, layout, gap.saturating_sub(3));
        let limits = |error: &Error| matches!(error, Error::LimitExceeded { .. } | Error::OutOfMemory { .. });
        match plan::forward(&request.affine, aligned, false, &caps, &pin) {
            // Where the reduction had to be split, the plan in one piece is another one.
            Ok(plan) if plan.dispatches.iter().all(|d| d.kernel.file != KernelFile::SplitSum) => {
                check(&plan, &plan::forward(&request.affine, aligned, false, &BOUNDLESS, &pin).unwrap(), &caps);
            }
            Ok(_) => {}
            Err(error) => prop_assert!(limits(&error), "{error}"),
        }
        match plan::backward(&request, aligned, &caps, &pin) {
            Ok(plan) => for dispatch in &plan.dispatches {
                for part in &dispatch.uses {
                    prop_assert!(part.len * 4 <= caps.max_binding, "{part:?} {dispatch:?}");
                }
            },
            Err(error) => prop_assert!(limits(&error), "{error}"),
        }
    }
}

/// The windows of a convolution: each row of x begins one pixel behind the last. Whatever is read may lie so.
#[test]
fn rows_that_overlap_are_bound_to_the_end_of_their_last() {
    let mut request = backward(300, 40, 20, WeightLayout::OutIn, 0);
    let overlap = [(Operand::X, 20, 4), (Operand::Dy, 40, 1), (Operand::Saved, 40, 5)];
    let storage = |storage: Storage, (operand, _, stride)| storage.with_row_stride(operand, Some(stride));
    request.affine = request.affine.storage(overlap.into_iter().fold(request.affine.storage, storage));
    for caps in [SOFTWARE.max_binding(16_384), SOFTWARE.max_work(1 << 17), SOFTWARE] {
        let forward = plan::forward(&request.affine, true, false, &caps, &Pin::default()).unwrap();
        let backward = plan::backward(&request, true, &caps, &Pin::default()).unwrap();
        let mut seen = 0;
        for dispatch in forward.dispatches.iter().chain(&backward.dispatches) {
            for part in &dispatch.uses {
                let Some((_, columns, stride)) = overlap.iter().find(|row| row.0 == part.operand) else { continue };
                let window = part.first..part.first + part.len;
                for tile in dispatch.params.first..dispatch.params.tiles {
                    let range = touched(dispatch, tile, part.along, 299 * u64::from(*stride) + columns);
                    let Some(range) = range else { continue };
                    assert!(
                        window.start <= range.start && range.end <= window.end,
                        "{range:?} in {window:?}: {part:?}"
                    );
                    seen += 1;
                }
            }
        }
        assert!(seen > 3, "{forward}{backward}");
    }
}

#[test]
fn a_long_product_is_cut() {
    let request = AffineRequest::new(1024, 4096, 1024, Activation::GELU_ERF);
    let plan = plan::forward(&request, true, false, &SOFTWARE, &Pin::default()).unwrap();
    assert!(plan.dispatches.len() >= 30, "4.3e9 multiply-adds at 1.2e8 a dispatch: {plan}");
    let boundless = plan::forward(&request, true, false, &BOUNDLESS, &Pin::default()).unwrap();
    check(&plan, &boundless, &SOFTWARE);
}

/// A weight of 200 MiB where a binding holds 128: by columns, or by parts of the reduction.
#[test]
fn operands_longer_than_a_binding_are_bound_in_windows() {
    for layout in [WeightLayout::OutIn, WeightLayout::InOut] {
        let request = backward(3, 8192, 6400, layout, 0);
        let plan = plan::forward(&request.affine, true, false, &SOFTWARE, &Pin::default()).unwrap();
        let parts =
            |plan: &Plan| plan.dispatches.iter().flat_map(|d| &d.uses).filter(|u| u.operand == Operand::W).count();
        assert!(parts(&plan) >= 2, "{plan}");
        let plan = plan::backward(&request, true, &SOFTWARE, &Pin::default()).unwrap();
        assert!(parts(&plan) >= 2, "{plan}");
    }
    // Both operands of dW, and dW itself: added up split after split, without partial products.
    let small = SOFTWARE.max_binding(4096);
    let pin = Pin::default().tile(3);
    let mut request = backward(500, 60, 20, WeightLayout::OutIn, 0);
    request.gradients.b = Want::No;
    let plan = plan::backward(&request, true, &small, &pin).unwrap();
    let dw: Vec<_> = plan.dispatches.iter().filter(|d| d.uses.iter().any(|u| u.operand == Operand::Dw)).collect();
    let adds = |d: &Dispatch| d.kernel.finish.to_string().contains("+=");
    assert!(dw.len() > 1 && !adds(dw[0]) && dw.last().is_some_and(|d| adds(d)), "{plan}");
    assert!(!plan.dispatches.iter().any(|d| d.kernel.file == KernelFile::SplitSum), "{plan}");
}

#[test]
fn what_can_not_be_cut_is_refused_by_name() {
    let small = SOFTWARE.max_binding(4096);
    // One row of tiles of y is longer than a binding.
    let error = plan::forward(&AffineRequest::new(64, 2000, 4, Activation::RELU), true, false, &small, &Pin::default());
    assert!(
        matches!(&error, Err(Error::LimitExceeded { what, limit: 4096, .. }) if what.contains("of y")),
        "{error:?}"
    );
    let endless = AffineRequest::new(65_535, 65_535, 65_535, Activation::RELU);
    let caps = SOFTWARE.max_binding(1 << 40).max_scratch(1 << 40);
    let error = plan::forward(&endless, true, false, &caps, &Pin::default());
    assert!(matches!(&error, Err(Error::LimitExceeded { what, .. }) if what.contains("dispatches")), "{error:?}");
}
