//! Numbers 1 to 21: sizes of zero, sizes that do not fit, sizes beyond every limit.

use elbow::{Activation, Error, Float, Gpu, Operand, Saved, View, WeightLayout, affine::Forward, elementwise};

use super::{Layer, fails, good, pin};
use crate::common::{gpu, options};

fn shape(operand: Operand) -> impl Fn(&Error) -> bool {
    move |e| matches!(e, Error::Shape { operand: o, .. } if *o == operand)
}

fn limit(e: &Error) -> bool {
    matches!(e, Error::LimitExceeded { .. })
}

/// 1, 2, 3: a size of zero is a size. No rows, no columns: empty results, and overwritten gradients of zero; no
/// reduction: act(b).
#[test]
fn n01_n02_n03_zero_sizes() {
    let gpu = gpu();
    for (m, n, k) in [(0, 3, 5), (4, 3, 0), (4, 0, 5), (0, 0, 0)] {
        let ones = |shape: &[usize]| gpu.upload(&vec![1.0; shape.iter().product()], shape).unwrap();
        let nans = |shape: &[usize]| gpu.upload(&vec![f32::NAN; shape.iter().product()], shape).unwrap();
        let (x, w, b, y) = (ones(&[m, k]), ones(&[n, k]), ones(&[n]), nans(&[m, n]));
        let (dy, dx, dw, db) = (ones(&[m, n]), nans(&[m, k]), nans(&[n, k]), nans(&[n]));
        gpu.submit_pass(|pass| {
            let forward = Forward::new(Activation::RELU, &x, &w, &y).b(b.view()).saved(Saved::Y).pin(pin());
            forward.record(gpu, &mut *pass)?;
            forward.backward(&dy).dx(&dx).dw(&dw).db(&db).record(gpu, pass)
        })
        .unwrap();
        let get = |t| gpu.download(t).unwrap();
        assert_eq!(get(&y), vec![k as f32 + 1.0; m * n], "{m}×{n}×{k}");
        assert_eq!(get(&dx), vec![n as f32; m * k], "{m}×{n}×{k}");
        assert_eq!(get(&dw), vec![m as f32; n * k], "{m}×{n}×{k}");
        assert_eq!(get(&db), vec![m as f32; n], "{m}×{n}×{k}");
    }
    good(gpu);
}

/// 4: w the other way round. 5, 6: a bias that is too short, or one number. 7: an α that is neither one nor N.
#[test]
fn n04_to_n07_shapes_that_do_not_fit_are_named() {
    let gpu = gpu();
    let o = Layer::new(gpu).unwrap();
    let call = o.forward();
    let w = o.w.view_as(&[5, 3]);
    fails(call.w(w), shape(Operand::W), &["w: expected [N, 5]", "[5, 3]", "InOut"]);
    fails(call.layout(WeightLayout::InOut), shape(Operand::W), &["OutIn"]);
    fails(call.b(o.b.view_as(&[2])), shape(Operand::B), &["b: expected [3], got [2]"]);
    fails(call.b(o.b.view_as(&[1])), shape(Operand::B), &["expected [3], got [1]"]);
    let prelu: Activation = "prelu".parse().unwrap();
    let alpha = Some(o.b.view_as(&[2]));
    fails(call.activation(prelu).alpha(alpha), shape(Operand::Alpha), &["[1] or [3]"]);
    let alone = elementwise::Forward::new(prelu, &o.y, &o.y).alpha(alpha);
    assert!(shape(Operand::Alpha)(&alone.plan(gpu).unwrap_err()));
    fails(call.y(o.y.view_as(&[3, 4])), shape(Operand::Y), &[]);
    fails(call.residual(o.b.view()), shape(Operand::Residual), &[]);
    assert!(matches!(gpu.upload(&[1.0], &[2]), Err(Error::Shape { .. })));
    assert!(matches!(gpu.write(&o.b, &[1.0; 4]), Err(Error::Shape { .. })));
    good(gpu);
}

/// 8: M·K past 32 bits. 9: past 64. 10: K = 2³² - 1. 20: past the largest buffer. Nothing is allocated for any of them.
#[test]
fn n08_n09_n10_n20_sizes_beyond_limits() {
    // A device of its own: what other tests allocate meanwhile is not counted.
    let gpu = &Gpu::with_options(options()).unwrap();
    let o = Layer::new(gpu).unwrap();
    let call = o.forward();
    let held = gpu.memory_bytes();
    for x in
        [[65_536, 65_536], [u32::MAX as usize, 2], [1 << 33, 1 << 33], [(1 << 32) + 1, 1], [usize::MAX, usize::MAX]]
    {
        fails(call.x(o.x.view_as(&x)), limit, &["elements of x"]);
    }
    let k = u32::MAX as usize;
    let (x, w, y) = ([1, k], [3, k], [1, 3]);
    let long = call.x(o.x.view_as(&x)).w(o.w.view_as(&w)).y(o.y.view_as(&y));
    fails(long, limit, &["elements of x"]);
    // As many as an operand may have: the last step of a loop may reach past its end.
    let k = (1 << 32) - (1 << 16);
    let (x, w) = ([1, k], [3, k]);
    let long = long.x(o.x.view_as(&x)).w(o.w.view_as(&w));
    fails(long, limit, &["elements of w"]);
    // Few enough elements, but the buffer has 20.
    let (w, y) = ([1, k], [1, 1]);
    let long = long.w(o.w.view_as(&w)).y(o.y.view_as(&y)).b(None);
    fails(long, |e| matches!(e, Error::LimitExceeded { .. } | Error::Buffer { .. }), &["x"]);
    let most = gpu.device().limits().max_buffer_size;
    if most < u64::from(u32::MAX) * 4 {
        let elements = (most / 4 + 1) as usize;
        assert!(limit(&gpu.zeros(&[elements]).unwrap_err()));
    }
    assert!(limit(&gpu.zeros(&[1 << 32]).unwrap_err()));
    fails(call.pin(pin().tile(99)), limit, &["pinned tile"]);
    drop(o);
    assert!(gpu.memory_bytes() < held + (1 << 20));
}

/// 11: x is shorter than its shape says. 12: y is longer: the rest is as it was. 15: an offset beyond 4 GiB, and one whose
/// end is beyond 64 bits.
#[test]
fn n11_n12_n15_lengths_and_offsets() {
    let gpu = gpu();
    let o = Layer::new(gpu).unwrap();
    let call = o.forward();
    let short = gpu.zeros(&[16]).unwrap();
    let buffer = |e: &Error| matches!(e, Error::Buffer { operand: Operand::X, .. });
    fails(call.x(View::new(short.buffer(), 0, &[4, 5], Float::F32)), buffer, &["80 bytes", "64 bytes"]);
    for offset in [4, 1 << 32, 1 << 40, u64::MAX - 3] {
        fails(call.x(View::new(o.x.buffer(), offset, &[4, 5], Float::F32)), buffer, &[&offset.to_string()]);
        let view = View::new(o.x.buffer(), offset, &[20], Float::F32);
        assert!(matches!(gpu.download(view), Err(Error::Buffer { .. })), "{offset}");
        assert!(matches!(gpu.write(view, &[7.0; 20]), Err(Error::Buffer { .. })), "{offset}");
    }
    let long = gpu.upload(&[7.0; 64], &[64]).unwrap();
    let y = View::new(long.buffer(), 80, &[4, 3], Float::F32);
    gpu.submit(|e| call.y(y).record(gpu, e)).unwrap();
    let got = gpu.download(&long).unwrap();
    assert_eq!(got[20..32], Layer::expected(gpu, &o).unwrap());
    assert!(got[..20].iter().chain(&got[32..]).all(|&v| v == 7.0), "{got:?}");
    good(gpu);
}

/// 16: one element.
#[test]
fn n16_one_element() {
    let gpu = gpu();
    let one = |value| gpu.upload(&[value], &[1, 1]).unwrap();
    let (x, w, y, dx) = (one(3.0), one(0.5), one(f32::NAN), one(f32::NAN));
    gpu.submit_pass(|pass| {
        let forward = Forward::new(Activation::RELU, &x, &w, &y).saved(Saved::Y).pin(pin());
        forward.record(gpu, &mut *pass)?;
        forward.backward(&x).dx(&dx).record(gpu, pass)
    })
    .unwrap();
    assert_eq!((gpu.download(&y).unwrap(), gpu.download(&dx).unwrap()), (vec![1.5], vec![1.5]));
    good(gpu);
}

/// 17: primes, 8191×127×509, in small integers: the rows that are looked at are right to the bit.
#[test]
fn n17_primes() {
    let gpu = gpu();
    let (m, n, k) = (8191, 127, 509);
    let x: Vec<f32> = (0..m * k).map(|i| (i * 31 % 11) as f32 - 5.0).collect();
    let w: Vec<f32> = (0..n * k).map(|i| (i * 17 % 7) as f32 - 3.0).collect();
    let tensors = (gpu.upload(&x, &[m, k]).unwrap(), gpu.upload(&w, &[n, k]).unwrap(), gpu.zeros(&[m, n]).unwrap());
    gpu.submit(|e| Forward::new(Activation::RELU, &tensors.0, &tensors.1, &tensors.2).record(gpu, e)).unwrap();
    let y = gpu.download(&tensors.2).unwrap();
    for row in (0..m).step_by(251).chain([m - 1]) {
        for col in 0..n {
            let z: f32 = x[row * k..][..k].iter().zip(&w[col * k..][..k]).map(|(x, w)| x * w).sum();
            assert_eq!(y[row * n + col], z.max(0.0), "row {row}, column {col}");
        }
    }
    good(gpu);
}

/// 21: no dimension at all is an error for a layer and one number for an operator; five dimensions flatten to rows.
#[test]
fn n21_rank() {
    let gpu = gpu();
    let o = Layer::new(gpu).unwrap();
    let call = o.forward();
    fails(call.x(o.x.view_as(&[])), shape(Operand::X), &["at least one dimension"]);
    let five = call.x(o.x.view_as(&[2, 1, 2, 1, 5])).y(o.y.view_as(&[2, 1, 2, 1, 3]));
    gpu.submit(|e| five.record(gpu, e)).unwrap();
    assert_eq!(gpu.download(&o.y).unwrap(), Layer::expected(gpu, &o).unwrap());
    let scalar = elementwise::Forward::new(Activation::RELU, o.x.view_as(&[]), o.y.view_as(&[]));
    gpu.submit(|e| scalar.record(gpu, e)).unwrap();
    assert_eq!(gpu.download(&o.y).unwrap()[0], 0.0);
    good(gpu);
}
