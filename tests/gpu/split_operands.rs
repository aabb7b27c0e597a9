//! f32 on matrix units as sums of two numbers of f16: the bound of docs/numerics.md in all three forms, on numbers that one number of f16 can't hold, and exactly where two
//! can. Where the driver has no matrix units these are the plain tiles, which keep the same bound.

use elbow::{
    Activation, DeviceClass, Float, Gpu, MatrixUnits, Saved, Strategy, Want, affine::Forward, request::Gradients,
};
use elbow_verify::{Data, Numbers, Spec};

use crate::{
    common::{full, passes},
    matrix_units::{exact, forms, opened, there, tiles},
};

const M: usize = 40;
const N: usize = 48;
const K: usize = 100;

/// A matrix on the host, by rows.
#[derive(Clone)]
struct Rows(Vec<f32>, usize);

impl Rows {
    fn new([rows, cols]: [usize; 2], number: impl FnMut((usize, usize)) -> f32) -> Self {
        Rows((0..rows * cols).map(|i| (i / cols, i % cols)).map(number).collect(), cols)
    }

    fn at(&self, row: usize, col: usize) -> f32 {
        self.0[row * self.1 + col]
    }
}

/// x, w and dy.
type Operands = [Rows; 3];

/// y = x·Wᵀ, dx = dy·W and dW = dyᵀ·x: the forms NT, NN and TN.
fn products(gpu: &Gpu, [x, w, dy]: &Operands, dtypes: [Float; 3]) -> [Vec<f32>; 3] {
    let upload = |rows: &Rows, dtype| gpu.upload_as(dtype, &rows.0, &[rows.0.len() / rows.1, rows.1]).unwrap();
    let (x, w, dy) = (upload(x, dtypes[0]), upload(w, dtypes[1]), upload(dy, dtypes[2]));
    let [y, dx, dw] = [[M, N], [M, K], [N, K]].map(|shape| gpu.zeros(&shape).unwrap());
    let forward = Forward::new(Activation::IDENTITY, &x, &w, &y).saved(Saved::None);
    let plan = forward.plan(gpu).unwrap();
    assert_eq!(plan.to_string().contains("SPLIT_B"), there(gpu).is_some(), "{plan}");
    gpu.submit_pass(|pass| {
        forward.record(gpu, &mut *pass)?;
        forward.backward(&dy).dx(&dx).dw(&dw).record(gpu, pass)
    })
    .unwrap();
    [y, dx, dw].map(|tensor| gpu.download(&tensor).unwrap())
}

/// One element of a product: its exact value, the sum of the absolute values of its terms, and the bound of docs/numerics.md.
struct Exact {
    value: f64,
    terms: f64,
    bound: f64,
}

/// C[rows, cols] with these elements of A (row, step) and B (step, column).
fn reference(
    [rows, cols, steps]: [usize; 3],
    a: impl Fn(usize, usize) -> f32,
    b: impl Fn(usize, usize) -> f32,
) -> Vec<Exact> {
    let element = |i: usize, j: usize| {
        let (mut value, mut terms, mut flushed) = (0.0, 0.0, 0.0);
        let [mut largest, mut sums] = [[0.0f64; 2]; 2];
        for r in 0..steps {
            let (a, b) = (a(i, r), b(r, j));
            let term = f64::from(a) * f64::from(b);
            value += term;
            terms += term.abs();
            // A factor that is subnormal may count as 0.
            flushed += if a.is_subnormal() || b.is_subnormal() { term.abs() } else { 0.0 };
            for (side, v) in [a, b].into_iter().enumerate() {
                largest[side] = largest[side].max(f64::from(v.abs()));
                sums[side] += f64::from(v.abs());
            }
        }
        let beside = largest[0] * sums[1] + largest[1] * sums[0];
        let split = f64::powi(2.0, -21) * terms + 1.01 * f64::powi(2.0, -37) * beside;
        let summed = 8.0 * f64::powi(2.0, -24) * terms;
        Exact { value, terms, bound: split + summed + flushed + f64::from(f32::MIN_POSITIVE) }
    };
    (0..rows * cols).map(|at| element(at / cols, at % cols)).collect()
}

fn references([x, w, dy]: &Operands) -> [Vec<Exact>; 3] {
    [
        reference([M, N, K], |i, r| x.at(i, r), |r, j| w.at(j, r)),
        reference([M, K, N], |i, r| dy.at(i, r), |r, j| w.at(r, j)),
        reference([N, K, M], |i, r| dy.at(r, i), |r, j| x.at(r, j)),
    ]
}

/// Every element within its bound; the largest error as a share of the bound, and of the sum of the terms.
fn keeps_its_bound(what: &str, got: &[Vec<f32>; 3], expected: &[Vec<Exact>; 3]) -> [f64; 2] {
    let mut worst = [0.0f64; 2];
    for ((form, got), expected) in ["NT", "NN", "TN"].iter().zip(got).zip(expected) {
        for (i, (&got, exact)) in got.iter().zip(expected).enumerate() {
            let error = (f64::from(got) - exact.value).abs();
            assert!(
                error <= exact.bound,
                "{what}, {form}[{i}]: {got}, expected {} ± {:e}; off by {error:e}",
                exact.value,
                exact.bound
            );
            worst = [worst[0].max(error / exact.bound), worst[1].max(error / exact.terms.max(1e-300))];
        }
    }
    println!("{what}: {:.2} of the bound, {:.1e} of the terms", worst[0], worst[1]);
    worst
}

fn normal(numbers: &mut Numbers) -> Operands {
    [[M, K], [N, K], [M, N]].map(|shape| Rows::new(shape, |_| numbers.normal()))
}

/// Numbers of each hard kind, made of normal ones.
fn hard(what: &str, [x, w, dy]: Operands) -> Operands {
    let times = |rows: &Rows, factor: &dyn Fn(usize, usize) -> f32| {
        let shape = [rows.0.len() / rows.1, rows.1];
        Rows::new(shape, |(i, j)| rows.at(i, j) * factor(i, j))
    };
    let all = |each: &dyn Fn(&Rows) -> Rows| [each(&x), each(&w), each(&dy)];
    let ten = |n: i32| f64::powi(10.0, n) as f32;
    match what {
        "normal" => all(&Rows::clone),
        // In W and in a column of dy they stand beside each other.
        "rows from 1e-30 to 1e30" => [
            times(&x, &|i, _| ten(i as i32 % 31 * 2 - 30)),
            times(&w, &|i, _| ten(i as i32 % 9 - 4)),
            times(&dy, &|i, _| ten(6 - i as i32 % 13)),
        ],
        "fifteen orders of magnitude in a row" => all(&|rows| {
            Rows::new([rows.0.len() / rows.1, rows.1], |(i, j)| {
                let v = rows.at(i, j);
                v.signum() * (6.0 * v).exp()
            })
        }),
        "cancellation" => {
            let pairs = |rows: &Rows, by: [usize; 2], off: f32| {
                Rows::new([rows.0.len() / rows.1, rows.1], |(i, j)| {
                    let odd = [i, j][by[0]] % 2 == 1;
                    let [i, j] = [i - by[1] * (i % 2), j - by[0] * (j % 2)];
                    if odd { rows.at(i, j) * off } else { rows.at(i, j) }
                })
            };
            // Neighbours along K, and along M.
            [pairs(&x, [1, 0], -1.000_001), pairs(&w, [1, 0], 1.0), pairs(&dy, [0, 1], -1.000_001)]
        }
        "barely normal" => {
            // A few of W are subnormal; the largest of dy has the exponent of the smallest normal number.
            let tiny = |rows: &Rows, size: f32| times(rows, &|_, _| size);
            let small = Rows::new([M, N], |(i, j)| {
                (1.0 + dy.at(i, j).abs().fract()) * f32::MIN_POSITIVE * dy.at(i, j).signum()
            });
            [tiny(&x, 1e25), tiny(&w, 2.0 * f32::MIN_POSITIVE), small]
        }
        "products that all but overflow" => {
            [times(&x, &|_, _| 3e18), times(&w, &|_, _| 3e17), times(&dy, &|_, _| 2e18)]
        }
        _ => panic!("{what}"),
    }
}

const HARD: [&str; 6] = [
    "normal",
    "rows from 1e-30 to 1e30",
    "fifteen orders of magnitude in a row",
    "cancellation",
    "barely normal",
    "products that all but overflow",
];

#[test]
fn every_form_keeps_the_bound_on_hard_numbers() {
    let gpu = opened(MatrixUnits::Split, None);
    let mut numbers = Numbers::new(81);
    for what in HARD {
        let operands = hard(what, normal(&mut numbers));
        let got = products(&gpu, &operands, [Float::F32; 3]);
        let worst = keeps_its_bound(what, &got, &references(&operands));
        if what == "normal" {
            // What rounding to one number of f16 would lose.
            let rounded =
                operands.clone().map(|rows| Rows(rows.0.iter().map(|&v| Float::F16.round(v)).collect(), rows.1));
            let pairs = references(&operands).into_iter().flatten().zip(references(&rounded).into_iter().flatten());
            let lost =
                pairs.map(|(exact, of_f16)| (exact.value - of_f16.value).abs() / exact.terms).fold(0.0, f64::max);
            assert!(worst[1] * 100.0 < lost, "{worst:?}, f16 alone loses {lost:e}");
        }
    }
    // What is stored in two bytes needs no second number.
    let [x, w, _] = hard("rows from 1e-30 to 1e30", normal(&mut numbers));
    let operands = [x, w, normal(&mut numbers)[2].clone()];
    let dtypes = [Float::Bf16, Float::F32, Float::F16];
    let stored: Operands =
        std::array::from_fn(|i| Rows(operands[i].0.iter().map(|&v| dtypes[i].round(v)).collect(), operands[i].1));
    keeps_its_bound("bf16, f32 and f16", &products(&gpu, &stored, dtypes), &references(&stored));
}

/// A matrix with one power of two in each row takes elements out of the other, and scales them: 23 digits come back to the last, whatever the exponents.
#[test]
fn twenty_three_digits_come_back() {
    let gpu = opened(MatrixUnits::Split, None);
    let mut numbers = Numbers::new(82);
    let digits = |v: f32| f32::from_bits((v.to_bits() + 1) & !1);
    let two = |n: usize| f32::from_bits((n as u32) << 23);
    let x = Rows::new([M, K], |(i, _)| digits(numbers.normal()) * two(27 + 5 * i));
    let w = Rows::new([N, K], |(j, r)| if r == j * 2 % K { two(97 + j) } else { 0.0 });
    let dy = Rows::new([M, N], |(i, j)| if i == j { 1.0 } else { 0.0 });
    let [y, dx, _] = products(&gpu, &[x.clone(), w.clone(), dy], [Float::F32; 3]);
    for (i, j) in (0..M).flat_map(|i| (0..N).map(move |j| (i, j))) {
        let exact = f64::from(x.at(i, j * 2 % K)) * f64::from(w.at(j, j * 2 % K));
        if exact.abs() < f64::from(f32::MAX) && exact.abs() >= f64::from(f32::MIN_POSITIVE) {
            assert_eq!(f64::from(y[i * N + j]), exact, "y[{i}, {j}]");
        }
    }
    assert_eq!(dx, w.0[..M * K], "dx");
}

/// Infinities and NaN spoil their row or column, as they do in f32, and nothing else.
#[test]
fn what_is_not_finite_spoils_its_row() {
    let gpu = opened(MatrixUnits::Split, None);
    let [mut x, mut w, dy] = normal(&mut Numbers::new(83));
    let clean = references(&[x.clone(), w.clone(), dy.clone()]);
    x.0[3 * K + 7] = f32::INFINITY;
    // The bits that memory full of ones has.
    x.0[5 * K] = f32::from_bits(u32::MAX);
    w.0[11 * K + 99] = f32::NEG_INFINITY;
    let [y, dx, dw] = products(&gpu, &[x, w, dy], [Float::F32; 3]);
    let check = |what: &str, got: &[f32], clean: &[Exact], cols: usize, spoilt: &dyn Fn(usize, usize) -> bool| {
        for (i, (&got, exact)) in got.iter().zip(clean).enumerate() {
            let right = match spoilt(i / cols, i % cols) {
                true => !got.is_finite(),
                false => (f64::from(got) - exact.value).abs() <= exact.bound,
            };
            assert!(right, "{what}[{}, {}] is {got}", i / cols, i % cols);
        }
    };
    check("y", &y, &clean[0], N, &|i, j| i == 3 || i == 5 || j == 11);
    check("dx", &dx, &clean[1], K, &|_, j| j == 99);
    check("dw", &dw, &clean[2], K, &|_, j| j == 7 || j == 0);
}

/// dz that is computed on the way, splits of the reduction, masks and sums: what the judge of `elbow verify` finds right.
#[test]
fn layers_of_real_numbers() {
    let gpu = opened(MatrixUnits::Split, None);
    let tile = tiles(&gpu.caps()).last().copied();
    let mut spec = Spec::new(1, 1, 1, "leaky_relu(0.3)".parse().unwrap());
    spec.forward.saved = Saved::Mask;
    spec.gradients = Gradients::default().x(Want::Overwrite).w(Want::Accumulate).b(Want::Overwrite);
    spec.pin = spec.pin.tile(tile).splits(3).strategy(Strategy::Prologue);
    for data in [Data::Normal, Data::Lognormal, Data::Huge, Data::Alternating] {
        let sizes = [(33, 65, 129), (129, 33, 37), (18, 71, 301)];
        passes(&gpu, &sizes.map(|(m, n, k)| Spec { data, seed: m as u64, ..spec.sized(m, n, k) }));
    }
}

/// The kernels that a GPU would run load the next step while this one is multiplied, and scale and split it there.
#[test]
fn the_text_of_a_gpu_keeps_the_bound() {
    let gpu = opened(MatrixUnits::Split, Some(DeviceClass::Discrete));
    let what = HARD[1];
    let operands = hard(what, normal(&mut Numbers::new(85)));
    keeps_its_bound(what, &products(&gpu, &operands, [Float::F32; 3]), &references(&operands));
}

#[test]
fn every_choice_on_integers() {
    exact(MatrixUnits::Split, None, &[Float::F32, Float::F32, Float::Bf16], 84);
}

#[test]
fn batches_and_the_text_of_a_gpu() {
    let gpu = opened(MatrixUnits::Split, None);
    let Some(&tile) = tiles(&gpu.caps()).last() else { return assert_eq!(there(&gpu), None, "{gpu}") };
    crate::batched::serves(&gpu, 1, tile);
    let class = Some(DeviceClass::Discrete);
    for (layout, splits, odd) in [(elbow::WeightLayout::InOut, 3, false), (elbow::WeightLayout::OutIn, 1, true)] {
        forms(MatrixUnits::Split, class, Some(tile), layout, splits, Float::F32, odd);
        if !full() {
            return;
        }
    }
}
