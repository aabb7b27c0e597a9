//! The plans of whole networks: where parameters lie, which block of rows a workgroup takes, and what moves in comparison with layer by layer.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use elbow::{
    Activation, AlphaSource, Caps, DeviceClass, Error, Pin, Plan,
    cpu::reference,
    network::Layers,
    plan::{self, NetworkForward, layer_by_layer_because},
    request::{AffineRequest, Saved},
    storage::Storage,
};

/// A discrete GPU with the workgroup memory that most have.
fn caps() -> Caps {
    Caps::defaults(DeviceClass::Discrete).workgroup_bytes(32_768).max_binding(1 << 31).max_work(u64::MAX)
}

fn whole(sizes: &[usize], rows: usize, caps: &Caps) -> elbow::Result<Plan> {
    let layers = Layers::new(sizes, Activation::SILU).unwrap();
    let request = NetworkForward { rows, layers, copy: false, storage: Storage::default() };
    plan::network_forward(&request, true, caps)
}

/// Dispatches and bytes.
fn layer_by_layer(sizes: &[usize], rows: usize, caps: &Caps) -> (usize, u64) {
    let layer = |pair: &[usize]| {
        let request = AffineRequest::new(rows, pair[1], pair[0], Activation::SILU).saved(Saved::None);
        plan::forward(&request, true, false, caps, &Pin::default()).unwrap()
    };
    let plans: Vec<Plan> = sizes.windows(2).map(layer).collect();
    (plans.iter().map(|plan| plan.dispatches.len()).sum(), plans.iter().map(Plan::bytes).sum())
}

/// The figures of docs/performance.md.
#[test]
fn few_bytes_and_one_dispatch() {
    for (sizes, bytes, share) in [
        (&[3, 64, 64, 64, 64, 4][..], [2_176_895_760, 29_413_888], 74),
        (&[32, 64, 64, 16], [1_275_097_664, 201_356_800], 6),
        (&[16, 16, 16, 16, 16, 16], [671_094_080, 134_225_408], 4),
        (&[128, 128, 128, 128], [3_221_423_616, 1_073_939_968], 2),
    ] {
        let rows = 1 << 20;
        let one = whole(sizes, rows, &caps()).unwrap();
        let (dispatches, all) = layer_by_layer(sizes, rows, &caps());
        assert_eq!((one.dispatches.len(), dispatches), (1, sizes.len() - 1), "{one}");
        assert_eq!([all, one.bytes()], bytes, "{sizes:?}");
        assert!(all / one.bytes() >= share, "{sizes:?}: {all} and {}", one.bytes());
    }
}

#[test]
fn parts_lie_one_behind_the_other() {
    for alpha in [AlphaSource::Constant, AlphaSource::PerLayer, AlphaSource::PerChannel] {
        for sizes in [&[3, 5][..], &[3, 70, 5], &[3, 70, 70, 70, 70, 5]] {
            let layers = Layers::new(sizes, Activation::prelu(0.25).unwrap()).unwrap().alpha(alpha);
            let mut at = 0;
            for l in 0..layers.count {
                let (place, [n, k]) = (layers.place(l), layers.shape(l));
                assert_eq!([n, k], [sizes[l + 1], sizes[l]]);
                assert_eq!(place.w, at);
                assert_eq!(place.b, at + (n * k).next_multiple_of(Layers::ALIGN));
                at = place.b + n.next_multiple_of(Layers::ALIGN);
                let learns = alpha != AlphaSource::Constant && l + 1 < layers.count;
                assert_eq!(place.alpha, learns.then_some(at));
                at += if learns { n.next_multiple_of(Layers::ALIGN).min(Layers::ALIGN) } else { 0 };
                assert_eq!(place.end, at);
            }
            assert_eq!(layers.elements(), at);
        }
    }
}

/// Eight rows a lane where the device is full and has the memory for it, four elsewhere; what does not fit is named.
#[test]
fn blocks_of_rows() {
    let rows_of = |plan: Plan| plan.dispatches[0].kernel.flag("LANE_ROWS");
    assert_eq!(rows_of(whole(&[64, 64, 64], 1 << 20, &caps()).unwrap()), 8);
    assert_eq!(rows_of(whole(&[64, 64, 64], 4096, &caps()).unwrap()), 4);
    assert_eq!(rows_of(whole(&[64, 64, 64], 1 << 20, &Caps::defaults(DeviceClass::Discrete)).unwrap()), 4);
    assert_eq!(rows_of(whole(&[64, 64, 64], 1 << 20, &Caps::defaults(DeviceClass::Software)).unwrap()), 4);
    // 128 columns take all that WebGPU promises.
    assert_eq!(rows_of(whole(&[128, 128], 100, &Caps::defaults(DeviceClass::Discrete)).unwrap()), 4);
    let small = Caps::defaults(DeviceClass::Discrete).workgroup_bytes(16_383);
    let error = whole(&[128, 128], 100, &small).unwrap_err();
    assert!(matches!(error, Error::LimitExceeded { asked: 16_384, limit: 16_383, .. }), "{error}");
    let error = whole(&[128, 128], 100, &Caps::defaults(DeviceClass::Discrete).max_invocations(64)).unwrap_err();
    assert!(matches!(error, Error::LimitExceeded { asked: 128, limit: 64, .. }), "{error}");
}

#[test]
fn where_one_dispatch_is_chosen() {
    let because = |sizes: &[usize], rows, class| {
        layer_by_layer_because(&Layers::new(sizes, Activation::SILU).unwrap(), rows, &Caps::defaults(class))
    };
    for rows in [1, 100, 1 << 20] {
        assert_eq!(because(&[3, 64, 64, 1], rows, DeviceClass::Discrete), None);
        assert_eq!(because(&[3, 64, 64, 1], rows, DeviceClass::Integrated), None);
        assert!(because(&[3, 64, 64, 1], rows, DeviceClass::Software).is_some_and(|why| why.contains("CPU")));
        assert!(because(&[3, 129, 1], rows, DeviceClass::Discrete).is_some_and(|why| why.contains("columns")));
    }
    assert_eq!(because(&[3, 128, 1], 4096, DeviceClass::Discrete), None);
    assert!(because(&[3, 128, 1], 1 << 20, DeviceClass::Discrete).is_some_and(|why| why.contains("arithmetic")));
}

/// Two layers by hand, and operands that are too short.
#[test]
fn the_reference_by_hand() {
    let layers = Layers::new(&[2, 2, 1], Activation::prelu(0.25).unwrap()).unwrap().alpha(AlphaSource::PerChannel);
    let layers = layers.output(Activation::RELU_SQUARED);
    let mut parameters = vec![f32::NAN; layers.elements()];
    let (hidden, last) = (layers.place(0), layers.place(1));
    parameters[hidden.w..][..4].copy_from_slice(&[1.0, 2.0, -1.0, 0.5]);
    parameters[hidden.b..][..2].copy_from_slice(&[0.5, -1.0]);
    parameters[hidden.alpha.unwrap()..][..2].copy_from_slice(&[0.25, -2.0]);
    parameters[last.w..][..2].copy_from_slice(&[1.0, 0.5]);
    parameters[last.b] = -1.0;
    // z = [3.5, -1.5], y = [3.5, 3], and ((3.5 + 1.5) - 1)^2; z = [-1.5, -1], y = [-0.375, 2], and below 0.
    let x = [1.0, 1.0, -1.0, -0.5];
    assert_eq!(reference::network(&layers, 2, &x, &parameters).unwrap(), [16.0, 0.0]);
    let error = reference::network(&layers, 2, &x[..3], &parameters).unwrap_err().to_string();
    assert!(error.contains("x"), "{error}");
    let error = reference::network(&layers, 2, &x, &parameters[1..]).unwrap_err().to_string();
    assert!(error.contains("parameter"), "{error}");
}
