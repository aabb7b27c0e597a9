//! Operands with gaps: parts of wider rows, layers that share memory, copies between any strides, α along any dimension.
//! (Every layer, tile and strategy with gaps behind its rows is in `exact`, `fuzz` and `elbow verify`.)

use elbow::{
    Activation, Dtype, Error, Float, Gpu, Operand, Result, Saved, Tensor, View,
    affine::{Forward, Gradient},
    elementwise,
};
use proptest::{
    prelude::*,
    strategy::{Strategy, ValueTree},
    test_runner::TestRunner,
};

use crate::common::{Numbers, gpu};

const UNTOUCHED: f32 = 777.0;

fn upload(values: &[f32], shape: &[usize]) -> Tensor {
    gpu().upload(values, shape).unwrap()
}

fn integers(numbers: &mut Numbers, count: usize) -> Vec<f32> {
    (0..count).map(|_| numbers.integer(4)).collect()
}

/// The places of a view's elements in its buffer, in elements, in order.
fn places(view: &View<'_>, first: usize) -> Vec<usize> {
    let mut places = vec![first];
    for (&dim, stride) in view.shape().iter().zip(view.strides()) {
        places = places.iter().flat_map(|&place| (0..dim).map(move |i| place + i * stride)).collect();
    }
    places
}

/// What lies at those places; and that nothing else was written.
fn gathered(tensor: &Tensor, places: &[usize]) -> Vec<f32> {
    let mut all = gpu().download(tensor).unwrap();
    let values = places.iter().map(|&place| std::mem::replace(&mut all[place], UNTOUCHED)).collect();
    assert!(all.iter().all(|&v| v == UNTOUCHED), "something beside the elements was written");
    values
}

/// Some columns of `[.., width]`.
fn cols<'a>(tensor: &'a Tensor, range: &std::ops::Range<usize>) -> View<'a> {
    tensor.view().slice(tensor.shape().len() - 1, range.clone()).unwrap()
}

/// The places of columns of `[rows, width]`.
fn columns(rows: usize, width: usize, part: std::ops::Range<usize>) -> Vec<usize> {
    (0..rows).flat_map(|row| part.clone().map(move |col| row * width + col)).collect()
}

#[test]
fn three_layers_side_by_side_in_one_buffer() {
    let (gpu, mut numbers) = (gpu(), Numbers::new(3));
    // Widths that keep groups of four, and that do not.
    for (m, n, k) in [(9, 8, 12), (33, 7, 5)] {
        let x = integers(&mut numbers, m * 3 * k);
        let w = integers(&mut numbers, 3 * n * k);
        let dy = integers(&mut numbers, m * 3 * n);
        let all_x = upload(&x, &[m, 3 * k]);
        let (all_w, all_dy) = (upload(&w, &[n, 3 * k]), upload(&dy, &[m, 3 * n]));
        let [y, z, dx, dw] = [[m, 3 * n], [m, 3 * n], [m, 3 * k], [n, 3 * k]]
            .map(|shape| upload(&vec![UNTOUCHED; shape[0] * shape[1]], &shape));
        for part in [1, 0, 2] {
            let (of_k, of_n) = (part * k..(part + 1) * k, part * n..(part + 1) * n);
            let cut = |tensor: &'_ Tensor, range: &std::ops::Range<usize>| -> (Tensor, Vec<usize>) {
                let [rows, width] = [tensor.shape()[0], tensor.shape()[1]];
                let places = columns(rows, width, range.clone());
                let all = gpu.download(tensor).unwrap();
                (upload(&places.iter().map(|&p| all[p]).collect::<Vec<f32>>(), &[rows, range.len()]), places)
            };
            let layer =
                |x, w, y, z| Forward::new("leaky_relu(0.5)".parse().unwrap(), x, w, y).saved(Saved::Z).save_to(z);
            // The same layer without gaps.
            let [(x_alone, _), (w_alone, _), (dy_alone, of_y)] =
                [cut(&all_x, &of_k), cut(&all_w, &of_k), cut(&all_dy, &of_n)];
            let [y_alone, z_alone, dx_alone, dw_alone] =
                [[m, n], [m, n], [m, k], [n, k]].map(|shape| gpu.zeros(&shape).unwrap());
            let alone = layer(x_alone.view(), w_alone.view(), y_alone.view(), z_alone.view());
            let inside = layer(cols(&all_x, &of_k), cols(&all_w, &of_k), cols(&y, &of_n), cols(&z, &of_n));
            gpu.submit_pass(|pass| {
                alone.record(gpu, &mut *pass)?;
                alone.backward(&dy_alone).dx(&dx_alone).dw(&dw_alone).record(gpu, &mut *pass)?;
                inside.record(gpu, &mut *pass)?;
                let backward = inside.backward(cols(&all_dy, &of_n));
                backward.dx(cols(&dx, &of_k)).dw(cols(&dw, &of_k)).record(gpu, &mut *pass)
            })
            .unwrap();
            for (what, outside, alone, range, rows) in [
                ("y", &y, &y_alone, &of_n, m),
                ("z", &z, &z_alone, &of_n, m),
                ("dx", &dx, &dx_alone, &of_k, m),
                ("dw", &dw, &dw_alone, &of_k, n),
            ] {
                let places = columns(rows, outside.shape()[1], range.clone());
                let all = gpu.download(outside).unwrap();
                let got: Vec<f32> = places.iter().map(|&place| all[place]).collect();
                assert_eq!(got, gpu.download(alone).unwrap(), "{what} of part {part} of {m} {n} {k}");
                if part == 1 {
                    gathered(outside, &places);
                }
            }
            assert_eq!(of_y.len(), m * n);
        }
    }
}

/// The windows of a convolution: rows of 5·c numbers, each c behind the last; one dispatch, and so many rows that it takes several.
#[test]
fn rows_that_overlap_are_those_of_a_copy() {
    let (gpu, mut numbers) = (gpu(), Numbers::new(4));
    for (m, n, c) in [(1, 3, 4), (61, 9, 3), (60, 8, 4), (9000, 64, 64)] {
        let k = 5 * c;
        let pixels = integers(&mut numbers, (m + 4) * c);
        let copied: Vec<f32> = (0..m).flat_map(|row| &pixels[row * c..][..k]).copied().collect();
        let (pixels, copied) = (upload(&pixels, &[m + 4, c]), upload(&copied, &[m, k]));
        let windows = pixels.view_as(&[m, k]).with_strides(&[c, 1]).unwrap();
        let (w, dy) =
            (upload(&integers(&mut numbers, n * k), &[n, k]), upload(&integers(&mut numbers, m * n), &[m, n]));
        let results = [windows, copied.view()].map(|x| {
            let (y, dw) = (gpu.zeros(&[m, n]).unwrap(), gpu.zeros(&[n, k]).unwrap());
            let layer = Forward::new(Activation::RELU, x, &w, &y).saved(Saved::Y);
            gpu.submit_pass(|pass| {
                layer.record(gpu, &mut *pass)?;
                layer.backward(&dy).dw(&dw).record(gpu, pass)
            })
            .unwrap();
            [y, dw].map(|result| gpu.download(&result).unwrap())
        });
        assert!(results[0][0].iter().any(|&y| y > 0.0));
        assert!(results[0] == results[1], "{m} {n} {c}");
    }
}

#[test]
fn layers_of_a_batch_share_memory_and_lie_apart() {
    let (gpu, mut numbers) = (gpu(), Numbers::new(5));
    let (layers, m, n, k) = (5, 6, 8, 4);
    let x = integers(&mut numbers, m * k);
    let w = integers(&mut numbers, layers * n * k);
    let dy = integers(&mut numbers, layers * m * n);
    let b = integers(&mut numbers, n);
    let [x1, b1] = [upload(&x, &[m, k]), upload(&b, &[n])];
    let (w, dy) = (upload(&w, &[layers, n, k]), upload(&dy, &[layers, m, n]));
    let x_each = upload(&x.repeat(layers), &[layers, m, k]);
    let b_each = upload(&b.repeat(layers), &[layers, n]);
    // Rows of all layers in turn: [m, layers, n].
    let y = upload(&vec![UNTOUCHED; m * layers * n], &[m, layers, n]);
    let turned = y.view().transposed(0, 1).unwrap();
    let [y_each, dw, dw_each] =
        [[layers, m, n], [layers, n, k], [layers, n, k]].map(|shape| gpu.zeros(&shape).unwrap());
    fn shared(tensor: &Tensor, layers: usize) -> View<'_> {
        tensor.view().expanded(layers).unwrap()
    }
    let layer = |x, b, y| Forward::new(Activation::RELU, x, w.view(), y).b(b).saved(Saved::Y);
    let inside = layer(shared(&x1, layers), shared(&b1, layers), turned);
    let each = layer(x_each.view(), b_each.view(), y_each.view());
    gpu.submit_pass(|pass| {
        inside.record(gpu, &mut *pass)?;
        inside.backward(&dy).dw(&dw).record(gpu, &mut *pass)?;
        each.record(gpu, &mut *pass)?;
        each.backward(&dy).dw(&dw_each).record(gpu, &mut *pass)
    })
    .unwrap();
    assert_eq!(gathered(&y, &places(&turned, 0)), gpu.download(&y_each).unwrap());
    assert_eq!(gpu.download(&dw).unwrap(), gpu.download(&dw_each).unwrap());
    // What is written can't be shared.
    let db = gpu.zeros(&[n]).unwrap();
    let refused = inside.backward(&dy).db(db.view().expanded(layers).unwrap()).plan(gpu).map(drop);
    assert_eq!(refused, Ok(()));
    let call = inside.backward(&dy).db(db.view().expanded(layers).unwrap());
    let error = gpu.submit(|encoder| call.record(gpu, encoder)).unwrap_err();
    assert!(matches!(&error, Error::Operand { operand: Operand::Db, .. }), "{error}");
}

/// Half a word may begin a row.
#[test]
fn rows_of_halves_begin_anywhere() {
    let (gpu, mut numbers) = (gpu(), Numbers::new(7));
    for dtype in [Float::F16, Float::Bf16] {
        let (m, n, k, width) = (7, 5, 3, 11);
        let x = integers(&mut numbers, m * width);
        let w = integers(&mut numbers, n * k);
        let all_x = gpu.upload_as(dtype, &x, &[m, width]).unwrap();
        let all_y = gpu.upload_as(dtype, &vec![UNTOUCHED; m * width], &[m, width]).unwrap();
        let untouched = dtype.round(UNTOUCHED);
        let w = gpu.upload_as(dtype, &w, &[n, k]).unwrap();
        let alone: Vec<f32> = columns(m, width, 5..8).iter().map(|&p| x[p]).collect();
        let alone = gpu.upload_as(dtype, &alone, &[m, k]).unwrap();
        let y = gpu.zeros_of(dtype, &[m, n]).unwrap();
        let (x_part, y_part) = (all_x.view().slice(1, 5..8).unwrap(), all_y.view().slice(1, 3..8).unwrap());
        gpu.submit_pass(|pass| {
            Forward::new(Activation::RELU, x_part, &w, y_part).record(gpu, &mut *pass)?;
            Forward::new(Activation::RELU, &alone, &w, &y).record(gpu, &mut *pass)
        })
        .unwrap();
        let mut got = gpu.download(&all_y).unwrap();
        let values: Vec<f32> =
            columns(m, width, 3..8).iter().map(|&place| std::mem::replace(&mut got[place], untouched)).collect();
        assert_eq!(values, gpu.download(&y).unwrap(), "{dtype}");
        assert!(got.iter().all(|&v| v == untouched), "{dtype}: {got:?}");
    }
}

/// Shape, strides of either side and how far in they begin.
fn any_copy() -> impl Strategy<Value = (Vec<usize>, [Vec<usize>; 2], [usize; 2])> {
    let side =
        |rank: usize| (Just((0..rank).collect::<Vec<_>>()).prop_shuffle(), prop::collection::vec(0..3usize, rank));
    (1..6usize)
        .prop_flat_map(move |rank| {
            (
                prop::collection::vec(prop_oneof![4 => 1..5usize, 1 => Just(8)], rank),
                side(rank),
                side(rank),
                any::<[bool; 6]>(),
                [0..5usize, 0..5usize],
            )
        })
        .prop_map(|(shape, from, to, repeated, first)| {
            // Dimensions in any order, with gaps: no two indices are one element.
            let strides = |(order, gaps): (Vec<usize>, Vec<usize>)| {
                let (mut strides, mut reach) = (vec![0; shape.len()], 1);
                for dim in order {
                    strides[dim] = reach + gaps[dim] % 3 * usize::from(gaps[0] > 0);
                    reach = strides[dim] * shape[dim];
                }
                strides
            };
            let (mut from, to) = (strides(from), strides(to));
            for (stride, _) in from.iter_mut().zip(repeated).filter(|(_, repeated)| *repeated && first[0] == 0) {
                *stride = 0;
            }
            (shape, [from, to], first)
        })
}

/// From an element on.
fn strided<'a>(tensor: &'a Tensor, first: usize, shape: &[usize], strides: &[usize]) -> View<'a> {
    let at = first as u64 * tensor.dtype().bytes();
    View::new(tensor.buffer(), at, shape, tensor.dtype()).with_strides(strides).unwrap()
}

#[test]
fn copies_between_any_strides() {
    let gpu = gpu();
    let mut runner = TestRunner::deterministic();
    let mut numbers = Numbers::new(11);
    let dtypes = [Float::F32, Float::F16, Float::Bf16];
    for case in 0..150 {
        let (shape, [from, to], first) = any_copy().new_tree(&mut runner).unwrap().current();
        let (source, target) = (dtypes[case % 3], dtypes[case / 3 % 3]);
        let extent =
            |strides: &[usize], first| first + 1 + shape.iter().zip(strides).map(|(d, s)| (d - 1) * s).sum::<usize>();
        let values: Vec<f32> = (0..extent(&from, first[0])).map(|_| source.round(numbers.normal() * 100.0)).collect();
        let untouched = target.round(UNTOUCHED);
        let have = gpu.upload_as(source, &values, &[values.len()]).unwrap();
        let room = extent(&to, first[1]) + 3;
        let get = gpu.upload_as(target, &vec![untouched; room], &[room]).unwrap();
        let (a, b) = (strided(&have, first[0], &shape, &from), strided(&get, first[1], &shape, &to));
        gpu.submit(|encoder| elementwise::copy(a, b).record(gpu, encoder)).unwrap();
        let mut got = gpu.download(&get).unwrap();
        for (&taken, &put) in places(&a, first[0]).iter().zip(&places(&b, first[1])) {
            let value = std::mem::replace(&mut got[put], untouched);
            assert_eq!(
                value,
                target.round(values[taken]),
                "case {case}: {shape:?} {from:?} to {to:?}, {source} to {target}"
            );
        }
        assert!(got.iter().all(|&v| v == untouched), "case {case}: {shape:?} {from:?} to {to:?}");
    }
}

#[test]
fn copies_keep_bits_and_go_in_groups() {
    let gpu = gpu();
    // Every kind of bits: NaN with a payload, infinities, zeros, a subnormal number.
    let words: Vec<u32> = [0x7fc0_1234, 0xff80_0000, 0x8000_0000, 1, 0x3f80_0001, 0xffff_ffff].repeat(16);
    let from = gpu.upload_words(&words, &[8, 12]).unwrap();
    let turned: Vec<u32> = (0..96).map(|i| words[i % 8 * 12 + i / 8]).collect();
    let numbers = View::new(from.buffer(), 0, &[8, 12], Dtype::F32);
    for (view, dtype) in [(from.view(), Dtype::U32), (numbers, Dtype::F32)] {
        for (shape, view, want) in [([8, 12], view, &words), ([12, 8], view.transposed(0, 1).unwrap(), &turned)] {
            let to = gpu.zeros_of(dtype, &shape).unwrap();
            let copy = elementwise::copy(view, &to);
            let plan = copy.plan(gpu).unwrap().to_string();
            assert_eq!(plan.contains("WIDE"), dtype == Dtype::F32 && shape == [8, 12], "{plan}");
            gpu.submit(|encoder| copy.record(gpu, encoder)).unwrap();
            let mut bytes = vec![0u8; 4 * 96];
            gpu.download_into(&to, &mut bytes).unwrap();
            assert_eq!(bytemuck::cast_slice::<u8, u32>(&bytes), want, "{dtype:?} {shape:?}");
        }
    }
    // Halves of one type: two together, or one by one.
    let halves: Vec<u16> =
        (0..96u16).map(|i| [0x7e01, 0xfc00, 0x8000, 1, 0x3c01, 0xffff][usize::from(i) % 6] ^ (i / 6 * 16)).collect();
    for dtype in [Float::F16, Float::Bf16] {
        let from = gpu.upload_as(dtype, bytemuck::cast_slice::<u16, u8>(&halves), &[8, 12]).unwrap();
        let turned: Vec<u16> = (0..96).map(|i| halves[i % 8 * 12 + i / 8]).collect();
        let whole = from.view();
        for (shape, view, want) in [([8, 12], whole, &halves), ([12, 8], whole.transposed(0, 1).unwrap(), &turned)] {
            let to = gpu.zeros_of(dtype, &shape).unwrap();
            gpu.submit(|encoder| elementwise::copy(view, &to).record(gpu, encoder)).unwrap();
            let mut bytes = vec![0u8; 2 * 96];
            gpu.download_into(&to, &mut bytes).unwrap();
            assert_eq!(bytemuck::cast_slice::<u8, u16>(&bytes), want, "{dtype} {shape:?}");
        }
    }
    // What does not go.
    let small = gpu.zeros(&[8, 11]).unwrap();
    let same = gpu.zeros(&[8, 12]).unwrap();
    let refused =
        |from: View<'_>, to: View<'_>| gpu.submit(|e| elementwise::copy(from, to).record(gpu, e)).unwrap_err();
    assert!(matches!(refused(numbers, small.view()), Error::Shape { operand: Operand::To, .. }));
    assert!(matches!(refused(from.view(), same.view()), Error::Operand { operand: Operand::To, .. }));
    let part = same.view().slice(0, 0..4).unwrap();
    assert!(matches!(refused(part, same.view().slice(0, 2..6).unwrap()), Error::Alias { .. }));
    let repeated = small.view().slice(0, 0..1).unwrap().with_strides(&[0, 1]).unwrap();
    assert!(
        elementwise::copy(part, part.with_strides(&[0, 1]).unwrap()).prepare(gpu).is_err() && repeated.is_contiguous()
    );
    assert_eq!(
        elementwise::copy(&gpu.zeros(&[0, 3]).unwrap(), &gpu.zeros(&[0, 3]).unwrap()).plan(gpu).unwrap().dispatches,
        []
    );
}

/// [B, C, P] beside [B, P, C]: the same numbers, the channels along another dimension.
#[test]
fn alpha_along_any_dimension() {
    let (gpu, mut numbers) = (gpu(), Numbers::new(13));
    for (batch, channels, inner) in [(2, 3, 5), (3, 8, 16), (1, 7, 1), (4, 1, 6), (70, 5, 260)] {
        for spec in ["prelu", "softplus(2)"] {
            let activation: Activation = spec.parse().unwrap();
            let total = batch * channels * inner;
            let mut normal = |count: usize| -> Vec<f32> { (0..count).map(|_| numbers.normal()).collect() };
            let (x, dy, ddx) = (normal(total), normal(total), normal(total));
            let alpha: Vec<f32> = normal(channels).iter().map(|a| a.abs() + 0.3).collect();
            let turn = |values: &[f32]| -> Vec<f32> {
                let at = |i: usize| {
                    let (b, p, c) = (i / (inner * channels), i / channels % inner, i % channels);
                    values[(b * channels + c) * inner + p]
                };
                (0..total).map(at).collect()
            };
            let last = channels_last(
                gpu,
                activation,
                [batch, inner, channels],
                &[&turn(&x), &turn(&dy), &turn(&ddx)],
                &alpha,
                &[channels],
            )
            .unwrap();
            let middle =
                channels_last(gpu, activation, [batch, channels, inner], &[&x, &dy, &ddx], &alpha, &[channels, 1])
                    .unwrap();
            for (what, (middle, last)) in ["y", "dx", "ddy", "dx2"].iter().zip(middle.iter().zip(&last)) {
                assert_eq!(&turn(middle), last, "{what}: {spec} {batch} {channels} {inner}");
            }
            for (what, (middle, last)) in ["dalpha", "dalpha2"].iter().zip(middle[4..].iter().zip(&last[4..])) {
                for (a, b) in middle.iter().zip(last) {
                    let allowed = 1e-5 * ((batch * inner) as f32).sqrt().max(1.0) * (b.abs() + 1.0);
                    assert!((a - b).abs() <= allowed, "{what}: {a} beside {b}, {spec} {batch} {channels} {inner}");
                }
            }
        }
    }
    // Along what is no dimension of x.
    let (x, y) = (gpu.zeros(&[2, 3, 4]).unwrap(), gpu.zeros(&[2, 3, 4]).unwrap());
    for shape in [&[3][..], &[2, 1], &[3, 4], &[4, 1, 1], &[2, 1, 1, 1]] {
        let alpha = gpu.zeros(shape).unwrap();
        let call = elementwise::Forward::new("prelu".parse().unwrap(), &x, &y).alpha(alpha.view());
        let error = gpu.submit(|encoder| call.record(gpu, encoder)).unwrap_err();
        assert!(matches!(error, Error::Shape { operand: Operand::Alpha, .. }), "{shape:?}: {error}");
    }
}

/// y, dx, ddy, dx2, dalpha, dalpha2; x, dy and y lie in wider rows.
fn channels_last(
    gpu: &Gpu,
    activation: Activation,
    shape: [usize; 3],
    given: &[&[f32]; 3],
    alpha: &[f32],
    alpha_shape: &[usize],
) -> Result<Vec<Vec<f32>>> {
    let [a, b, c] = shape;
    let wide = [a, b, c + 3];
    let room = || gpu.zeros(&wide);
    let [x, dy, ddx] = given.map(|values| gpu.upload(values, &shape));
    let (x, dy, ddx) = (x?, dy?, ddx?);
    let (x_wide, dy_wide, y, dx) = (room()?, room()?, room()?, room()?);
    let (ddy, dx2) = (gpu.zeros(&shape)?, gpu.zeros(&shape)?);
    let alpha = gpu.upload(alpha, alpha_shape)?;
    let (dalpha, dalpha2) = (gpu.zeros(alpha_shape)?, gpu.zeros(alpha_shape)?);
    let forward =
        elementwise::Forward::new(activation, cols(&x_wide, &(2..2 + c)), cols(&y, &(2..2 + c))).alpha(alpha.view());
    let backward = forward.backward(cols(&dy_wide, &(2..2 + c))).dx(cols(&dx, &(2..2 + c))).dalpha(&dalpha);
    gpu.submit_pass(|pass| {
        elementwise::copy(&x, cols(&x_wide, &(2..2 + c))).record(gpu, &mut *pass)?;
        elementwise::copy(&dy, cols(&dy_wide, &(2..2 + c))).record(gpu, &mut *pass)?;
        forward.record(gpu, &mut *pass)?;
        backward.record(gpu, &mut *pass)?;
        backward.backward(&ddx).ddy(&ddy).dx2(Gradient::accumulate(&dx2)).dalpha2(&dalpha2).record(gpu, &mut *pass)
    })?;
    let mut all = Vec::new();
    for tensor in [&y, &dx] {
        let values = gpu.download(tensor)?;
        all.push(columns(a * b, c + 3, 2..2 + c).iter().map(|&place| values[place]).collect());
    }
    for tensor in [&ddy, &dx2, &dalpha, &dalpha2] {
        all.push(gpu.download(tensor)?);
    }
    Ok(all)
}

#[test]
fn what_lies_otherwise_is_named() {
    let gpu = gpu();
    let (m, n, k) = (4, 6, 8);
    let (x, w, y) = (gpu.zeros(&[m, 2 * k]).unwrap(), gpu.zeros(&[n, k]).unwrap(), gpu.zeros(&[m, n]).unwrap());
    let part = x.view().slice(1, 0..k).unwrap();
    let bias = gpu.zeros(&[n, 2]).unwrap();
    let layer = Forward::new(Activation::RELU, part, &w, &y);
    assert!(layer.plan(gpu).is_ok());
    let turned = gpu.zeros(&[k, m]).unwrap();
    let mask = gpu.zeros_of(Dtype::U32, &[m, 2]).unwrap();
    let calls = [
        // Every other element of a row, and a matrix that stands on its side.
        (Operand::X, layer.x(x.view().with_strides(&[2 * k, 2]).unwrap().slice(1, 0..k).unwrap())),
        (Operand::X, layer.x(turned.view().transposed(0, 1).unwrap())),
        (Operand::B, layer.b(bias.view().slice(1, 0..1).unwrap().transposed(0, 1).unwrap())),
        // Rows that are written must not be one row.
        (Operand::Y, layer.y(y.view().with_strides(&[0, 1]).unwrap())),
        (Operand::Y, layer.y(y.view().with_strides(&[n - 1, 1]).unwrap())),
        (Operand::Saved, layer.saved(Saved::Mask).save_to(mask.view().slice(1, 0..1).unwrap())),
    ];
    for (operand, call) in calls {
        let error = gpu.submit(|encoder| call.record(gpu, encoder)).unwrap_err();
        assert!(matches!(&error, Error::Operand { operand: named, .. } if *named == operand), "{operand}: {error}");
    }
    // A residual that is read in place of y has its rows where y has them.
    let wide = gpu.zeros(&[m, 2 * n]).unwrap();
    let [left, right] = [0, n].map(|at| wide.view().slice(1, at..at + n).unwrap());
    let record = |y, residual| {
        let call = layer.y(y).residual(residual);
        gpu.submit(|encoder| call.record(gpu, encoder))
    };
    assert_eq!(record(left, left), Ok(()));
    assert_eq!(record(left, right), Ok(()));
    let overlapping = wide.view().slice(1, 2..2 + n).unwrap();
    assert!(matches!(record(left, overlapping), Err(Error::Alias { .. })));
    assert!(matches!(record(left, wide.view_as(&[m, n])), Err(Error::Alias { .. })));
    // The last row ends where the buffer does.
    let last = View::new(wide.buffer(), 4 * n as u64, &[m, n], Dtype::F32).with_strides(&[2 * n, 1]).unwrap();
    assert!(layer.plan(gpu).is_ok() && record(last, left).is_ok());
    let beyond = View::new(wide.buffer(), 4 * n as u64 + 4, &[m, n], Dtype::F32).with_strides(&[2 * n, 1]).unwrap();
    assert!(matches!(record(beyond, y.view()), Err(Error::Buffer { operand: Operand::Y, .. })));
    // Losses and updates take no gaps.
    let labels = gpu.upload_words(&[0; 4], &[4]).unwrap();
    let loss = gpu.zeros(&[4]).unwrap();
    let call = elbow::train::SoftmaxCrossEntropy::new(left, &labels, &loss, right);
    let error = gpu.submit(|encoder| call.record(gpu, encoder)).unwrap_err();
    assert!(matches!(&error, Error::Operand { operand: Operand::Logits, .. }), "{error}");
}
