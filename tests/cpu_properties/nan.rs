//! How far one NaN reaches, on both CPU implementations and from every saved choice: one in x spoils its row of y and of dx, one in w
//! its column of y, and no element that it does not reach is touched. A mask cannot say NaN: there the gradient passes.

use elbow::{
    Float,
    activation::Activation,
    cpu::reference,
    request::{AffineRequest, AlphaSource, BackwardRequest, Below, Gradients, Saved, Want, WeightLayout},
};
use elbow_cpu::{
    BackwardInputs, BackwardOutputs, Elementwise, ForwardInputs, ForwardOutputs, SavedIn, SavedOut, Workspace,
    elementwise::{self, DoubleBackwardOutputs},
};

use crate::common::{Numbers, defaults};

const M: usize = 5;
/// More than one word of a mask.
const N: usize = 35;
const K: usize = 7;

/// Which elements of a matrix are NaN; a vector is one row.
#[derive(Debug, Clone, Copy)]
enum Nan {
    Nowhere,
    Element(usize, usize),
    Row(usize),
    Column(usize),
    Everywhere,
}
use Nan::{Column, Element, Everywhere, Nowhere, Row};

impl Nan {
    #[track_caller]
    fn check(self, what: &str, columns: usize, matrix: &[f64]) {
        for (i, value) in matrix.iter().enumerate() {
            let (row, column) = (i / columns, i % columns);
            let expected = match self {
                Nowhere => false,
                Element(r, c) => (r, c) == (row, column),
                Row(r) => r == row,
                Column(c) => c == column,
                Everywhere => true,
            };
            assert_eq!(value.is_nan(), expected, "{what}[{row}, {column}] is {value}; NaN: {self:?}");
        }
    }
}

fn wide(values: Vec<f32>) -> Vec<f64> {
    values.into_iter().map(f64::from).collect()
}

fn source_of(activation: &Activation) -> AlphaSource {
    if activation.has_alpha() { AlphaSource::PerChannel } else { AlphaSource::Constant }
}

fn operand(activation: &Activation, alpha: &[f32]) -> Option<Vec<f32>> {
    activation.has_alpha().then(|| alpha.to_vec())
}

/// A layer with a layer below, and its operands.
struct Chain {
    affine: AffineRequest,
    x: Vec<f32>,
    w: Vec<f32>,
    b: Vec<f32>,
    alpha: Option<Vec<f32>>,
    dy: Vec<f32>,
    below: Option<Activation>,
    z_below: Vec<f32>,
}

/// y, dx, dw with rows of out features, db, dα, and db and dα of the layer below.
struct Results {
    implementation: String,
    y: Vec<f64>,
    dx: Vec<f64>,
    dw: Vec<f64>,
    db: Vec<f64>,
    dalpha: Vec<f64>,
    db_below: Vec<f64>,
    dalpha_below: Vec<f64>,
}

impl Chain {
    fn new(activation: Activation, layout: WeightLayout) -> Self {
        let affine = AffineRequest::new(M, N, K, activation).layout(layout).alpha(source_of(&activation));
        let mut numbers = Numbers(7);
        let [x, w, b, dy, z_below] = [M * K, N * K, N, M * N, M * K].map(|length| numbers.vec(length));
        let alpha = operand(&activation, &[activation.params()[0]; N]);
        Chain { affine, x, w, b, alpha, dy, below: None, z_below }
    }

    /// W[n][k]
    fn weight(&mut self, n: usize, k: usize) -> &mut f32 {
        let at = match self.affine.layout {
            WeightLayout::OutIn => n * K + k,
            WeightLayout::InOut => k * N + n,
        };
        &mut self.w[at]
    }

    fn by_out_features(&self, dw: Vec<f64>) -> Vec<f64> {
        match self.affine.layout {
            WeightLayout::OutIn => dw,
            WeightLayout::InOut => (0..N * K).map(|i| dw[i % K * N + i / K]).collect(),
        }
    }

    fn forward(&self) -> ForwardInputs<'_> {
        ForwardInputs::new(&self.x, &self.w).b(Some(&self.b)).alpha(self.alpha.as_deref())
    }

    fn alpha_below(&self) -> Option<Vec<f32>> {
        self.below.and_then(|below| operand(&below, &[below.params()[0]; K]))
    }

    fn backward(&self, dalpha: bool, saved_below: Saved, dalpha_below: bool) -> BackwardRequest {
        let want = |wanted| if wanted { Want::Overwrite } else { Want::No };
        BackwardRequest::new(
            self.affine,
            Gradients::default().x(Want::Overwrite).w(Want::Overwrite).b(Want::Overwrite).alpha(want(dalpha)),
        )
        .below(self.below.map(|below| {
            Below::new(below, saved_below).alpha(source_of(&below)).db(Want::Overwrite).dalpha(want(dalpha_below))
        }))
    }

    fn on_reference(&self) -> Results {
        let alpha_below = self.alpha_below();
        let inputs = reference::BackwardInputs::new(&self.x, &self.w, &self.dy)
            .b(Some(&self.b))
            .alpha(self.alpha.as_deref())
            .z_below(self.below.is_some().then_some(&self.z_below))
            .alpha_below(alpha_below.as_deref());
        let out = reference::backward(&self.backward(true, Saved::Z, true), inputs).unwrap();
        Results {
            implementation: format!("{}, reference: ", self.affine.activation),
            y: reference::forward(&self.affine, self.forward()).unwrap().y,
            dx: if self.below.is_some() { out.dz_below.value } else { out.dx.value },
            dw: self.by_out_features(out.dw.value),
            db: out.db.value,
            dalpha: if self.alpha.is_some() { out.dalpha.value } else { vec![] },
            db_below: out.db_below.value,
            dalpha_below: if alpha_below.is_some() { out.dalpha_below.value } else { vec![] },
        }
    }

    /// From this saved choice of both layers; nothing if it is not enough for the gradients.
    fn on_baseline(&self, saved: Saved) -> Option<Results> {
        let of_z = matches!(saved, Saved::Z | Saved::None);
        let dalpha = of_z && self.alpha.is_some();
        self.affine.activation.saved_is_enough(saved, self.alpha.is_some(), dalpha, false, Float::F32).ok()?;
        let [mut y, mut z] = [(); 2].map(|()| vec![0.0; M * N]);
        let mut mask = vec![0; M * N.div_ceil(32)];
        let room = match saved {
            Saved::Z => SavedOut::Z(&mut z),
            Saved::Mask if self.affine.activation.row().from_bit => SavedOut::Mask(&mut mask),
            _ => SavedOut::None,
        };
        elbow_cpu::forward(
            &self.affine,
            self.forward(),
            ForwardOutputs { y: &mut y, saved: room, ..Default::default() },
        )
        .unwrap();
        let alpha_below = self.alpha_below();
        let inputs = BackwardInputs {
            x: &self.x,
            w: &self.w,
            b: Some(&self.b),
            alpha: self.alpha.as_deref(),
            dy: &self.dy,
            saved: match saved {
                Saved::Z => SavedIn::Z(&z),
                Saved::Y => SavedIn::Y(&y),
                Saved::Mask => SavedIn::Mask(&mask),
                _ => SavedIn::None,
            },
            saved_below: if self.below.is_some() { SavedIn::Z(&self.z_below) } else { SavedIn::None },
            alpha_below: alpha_below.as_deref(),
            ..BackwardInputs::default()
        };
        let [mut dx, mut dw, mut db, mut db_below] = [M * K, N * K, N, K].map(|length| vec![0.0; length]);
        let mut sums = [dalpha.then(|| vec![0.0; N]), alpha_below.as_ref().map(|_| vec![0.0; K])];
        let [of_alpha, of_alpha_below] = &mut sums;
        let outputs = BackwardOutputs {
            dx: Some(&mut dx),
            dw: Some(&mut dw),
            db: Some(&mut db),
            dalpha: of_alpha.as_deref_mut(),
            dresidual: None,
            db_below: Some(&mut db_below),
            dalpha_below: of_alpha_below.as_deref_mut(),
            ..BackwardOutputs::default()
        };
        let request = self.backward(dalpha, Saved::Z, alpha_below.is_some());
        elbow_cpu::backward(&request, inputs, outputs, &mut Workspace::new()).unwrap();
        let [dalpha, dalpha_below] = sums.map(|sums| wide(sums.unwrap_or_default()));
        Some(Results {
            implementation: format!("{}, baseline from {saved}: ", self.affine.activation),
            y: wide(y),
            dx: wide(dx),
            dw: self.by_out_features(wide(dw)),
            db: wide(db),
            dalpha,
            db_below: wide(db_below),
            dalpha_below,
        })
    }

    /// Both implementations, the baseline from each choice that can say NaN.
    fn everywhere(&self) -> Vec<Results> {
        let choices = [Saved::Z, Saved::None, Saved::Y];
        choices.into_iter().filter_map(|saved| self.on_baseline(saved)).chain([self.on_reference()]).collect()
    }
}

impl Results {
    #[track_caller]
    fn check(&self, y: Nan, dx: Nan, dw: Nan, db: Nan) {
        y.check(&format!("{}y", self.implementation), N, &self.y);
        dx.check(&format!("{}dx", self.implementation), K, &self.dx);
        dw.check(&format!("{}dw", self.implementation), K, &self.dw);
        db.check(&format!("{}db", self.implementation), N, &self.db);
        db.check(&format!("{}dalpha", self.implementation), N, &self.dalpha);
    }
}

/// Every row in both layouts; a linear layer apart, whose gradients do not depend on z.
fn chains() -> impl Iterator<Item = Chain> {
    let layouts = [WeightLayout::OutIn, WeightLayout::InOut];
    let curved = defaults().filter(|activation| !activation.needs_nothing());
    curved.flat_map(move |activation| layouts.map(|layout| Chain::new(activation, layout)))
}

#[test]
fn none_spoils_nothing() {
    for chain in chains() {
        chain.everywhere().iter().for_each(|implementation| implementation.check(Nowhere, Nowhere, Nowhere, Nowhere));
    }
}

#[test]
fn one_in_x_spoils_its_row() {
    for mut chain in chains() {
        chain.x[3 * K + 2] = f32::NAN;
        chain
            .everywhere()
            .iter()
            .for_each(|implementation| implementation.check(Row(3), Row(3), Everywhere, Everywhere));
    }
}

#[test]
fn one_in_w_spoils_its_column() {
    for mut chain in chains() {
        *chain.weight(33, 2) = f32::NAN;
        // dx sums over the columns of dz.
        chain
            .everywhere()
            .iter()
            .for_each(|implementation| implementation.check(Column(33), Everywhere, Row(33), Column(33)));
    }
}

#[test]
fn one_in_dy_spoils_what_sums_over_it() {
    for mut chain in chains().chain([Chain::new(Activation::IDENTITY, WeightLayout::OutIn)]) {
        chain.dy[N + 33] = f32::NAN;
        let implementations = chain.everywhere().into_iter().chain(chain.on_baseline(Saved::Mask));
        implementations.for_each(|implementation| implementation.check(Nowhere, Row(1), Row(33), Column(33)));
    }
}

#[test]
fn one_in_the_layer_below_spoils_its_element() {
    for mut chain in chains() {
        chain.below = Some(chain.affine.activation);
        chain.z_below[3 * K + 2] = f32::NAN;
        for implementation in chain.everywhere() {
            implementation.check(Nowhere, Element(3, 2), Nowhere, Nowhere);
            Column(2).check(&format!("{}db_below", implementation.implementation), K, &implementation.db_below);
            Column(2).check(&format!("{}dalpha_below", implementation.implementation), K, &implementation.dalpha_below);
        }
    }
}

#[test]
fn a_mask_lets_the_gradient_pass() {
    let mut checked = 0;
    for mut chain in chains() {
        chain.x[3 * K + 2] = f32::NAN;
        let Some(implementation) = chain.on_baseline(Saved::Mask) else { continue };
        checked += 1;
        // dw multiplies by x itself.
        implementation.check(Row(3), Nowhere, Column(2), Nowhere);
        let set = chain.affine.activation.slope_of_bit(true);
        for k in 0..K {
            let terms = (0..N).map(|n| f64::from(chain.dy[3 * N + n]) * set * f64::from(*chain.weight(n, k)));
            let (sum, size) = terms.fold((0.0, 0.0), |(sum, size), term: f64| (sum + term, size + term.abs()));
            let error = (implementation.dx[3 * K + k] - sum).abs();
            assert!(
                error <= 1e-6 * size,
                "{}dx[3, {k}] is {}, not {sum}",
                implementation.implementation,
                implementation.dx[3 * K + k]
            );
        }
    }
    assert!(checked > 20, "{checked}");
}

#[test]
fn a_linear_layer_has_gradients_that_do_not_see_z() {
    let mut chain = Chain::new(Activation::IDENTITY, WeightLayout::OutIn);
    chain.x[3 * K + 2] = f32::NAN;
    for saved in [Saved::None, Saved::Z, Saved::Y] {
        chain.on_baseline(saved).unwrap().check(Row(3), Nowhere, Column(2), Nowhere);
    }
}

#[test]
fn one_spoils_its_element_of_the_elementwise_operators() {
    for activation in defaults() {
        let request = Elementwise::new(M, N, activation).alpha(source_of(&activation));
        let mut numbers = Numbers(11);
        let [mut x, dy, ddx] = [(); 3].map(|()| numbers.vec(M * N));
        x[2 * N + 33] = f32::NAN;
        let alpha = operand(&activation, &[activation.params()[0]; N]);
        let alpha = alpha.as_deref();
        let check = |implementation: &str, elements: [Vec<f64>; 4], sums: [Vec<f64>; 2]| {
            for (name, matrix) in ["y", "dx", "ddy", "dx2"].into_iter().zip(elements) {
                Element(2, 33).check(&format!("{activation}, {implementation} {name}"), N, &matrix);
            }
            for (name, vector) in ["dalpha", "dalpha2"].into_iter().zip(sums).filter(|_| alpha.is_some()) {
                Column(33).check(&format!("{activation}, {implementation} {name}"), N, &vector);
            }
        };
        let y = reference::elementwise::forward(&request, &x, alpha).unwrap();
        let first = reference::elementwise::backward(&request, &x, alpha, &dy).unwrap();
        let second = reference::elementwise::double_backward(&request, &x, alpha, &dy, &ddx).unwrap();
        check("reference", [y, first.dx, second.ddy, second.dx2], [first.dalpha.value, second.dalpha2.value]);

        let [mut y, mut dx, mut ddy, mut dx2] = [(); 4].map(|()| vec![0.0; M * N]);
        let [mut dalpha, mut dalpha2] = [(); 2].map(|()| vec![0.0; N]);
        let [of_alpha, of_alpha2] = [&mut dalpha, &mut dalpha2].map(|sums| alpha.map(|_| sums.as_mut_slice()));
        elementwise::forward(&request, &x, alpha, &mut y).unwrap();
        elementwise::backward(&request, &x, alpha, &dy, &mut dx, of_alpha).unwrap();
        let outputs = DoubleBackwardOutputs { ddy: Some(&mut ddy), dx2: Some(&mut dx2), dalpha2: of_alpha2 };
        elementwise::double_backward(&request, &x, alpha, &dy, &ddx, outputs).unwrap();
        check("baseline", [y, dx, ddy, dx2].map(wide), [dalpha, dalpha2].map(wide));
    }
}
