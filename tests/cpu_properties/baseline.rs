//! The CPU baseline against the reference on random requests: any activation, α, layout, bias, residual, saved choice,
//! gradients wanted, overwritten or accumulated each by itself, and chains with any sufficient saved choice below.
//!
//! What is allowed is computed for each element: the tolerance of the row, carried through the products.

use elbow::{
    Float,
    activation::{Activation, Quantity},
    cpu::reference,
    request::{AffineRequest, AlphaSource, BackwardRequest, Below, Gradients, ResidualAt, Saved, Want, WeightLayout},
};
use elbow_cpu::{
    BackwardInputs, BackwardOutputs, Elementwise, ForwardInputs, ForwardOutputs, SavedIn, SavedOut, Workspace,
    elementwise,
};
use proptest::{
    array::{uniform3, uniform6},
    option,
    prelude::*,
    sample::{Index, select},
    test_runner::TestCaseResult,
};

use crate::common::{Numbers, any_ordinary, check, size, ulp};

const EPS: f64 = 1.0 / (1u64 << 24) as f64;
/// What a gradient that is accumulated starts from.
const START: f32 = 3.0;

/// An activation on so many channels, with its α.
#[derive(Debug, Clone)]
struct Layer {
    activation: Activation,
    source: AlphaSource,
    alpha: Vec<f32>,
}

impl Layer {
    fn new(activation: Activation, source: AlphaSource, channels: usize) -> Self {
        let source = if activation.has_alpha() { source } else { AlphaSource::Constant };
        let count = match source {
            AlphaSource::Constant => 0,
            AlphaSource::PerLayer => 1,
            AlphaSource::PerChannel => channels,
        };
        let alpha = (0..count).map(|i| activation.params()[0] * (1.0 + (i % 5) as f32 / 8.0)).collect();
        Layer { activation, source, alpha }
    }

    fn learnable(&self) -> bool {
        self.source != AlphaSource::Constant
    }

    fn alpha(&self) -> Option<&[f32]> {
        self.learnable().then_some(&self.alpha)
    }

    /// Elements of its α, and of the gradient: one for a constant, too.
    fn alphas(&self, channels: usize) -> usize {
        if self.source == AlphaSource::PerChannel { channels } else { 1 }
    }

    /// The activation with the α of one channel.
    fn at(&self, channel: usize) -> Activation {
        match self.source {
            AlphaSource::Constant => self.activation,
            AlphaSource::PerLayer => self.activation.with_alpha(self.alpha[0]),
            AlphaSource::PerChannel => self.activation.with_alpha(self.alpha[channel]),
        }
    }

    /// Those of the choices from which this layer's gradients are right.
    fn enough(&self, dalpha: bool, residual: bool) -> Vec<Saved> {
        let enough = |saved: &Saved| {
            self.activation.saved_is_enough(*saved, self.learnable(), dalpha, residual, Float::F32).is_ok()
        };
        [Saved::Z, Saved::Y, Saved::Mask, Saved::None].into_iter().filter(enough).collect()
    }

    /// How far a slope may be off at this z, if it was found from what was saved.
    fn slope_error(&self, channel: usize, z: f64, saved: Saved) -> f64 {
        let activation = self.at(channel);
        let tolerance = self.activation.row().tolerance(Quantity::Slope);
        let of_z = (tolerance + 1.0) * ulp(size(&activation, Quantity::Slope, z));
        if saved != Saved::Y || activation.slope_of_y_is_accurate() {
            return of_z + 64.0 * EPS * if saved == Saved::Y { activation.slope(z).abs() } else { 0.0 };
        }
        // From y it is right in absolute terms: y is rounded, and 1 - y and the like cancel.
        let of_y = self.activation.row().tolerance(Quantity::Value) + 1.0;
        of_z + 8.0 * of_y * EPS * activation.lipschitz().max(1.0)
    }

    fn alpha_slope_error(&self, channel: usize, z: f64) -> f64 {
        let tolerance = self.activation.row().tolerance(Quantity::AlphaSlope);
        (tolerance + 1.0) * ulp(size(&self.at(channel), Quantity::AlphaSlope, z))
    }
}

#[derive(Debug, Clone)]
struct Request {
    shape: [usize; 3],
    layout: WeightLayout,
    layer: (Activation, AlphaSource),
    below: Option<(Activation, AlphaSource)>,
    bias: bool,
    residual: Option<ResidualAt>,
    row_weight: bool,
    upstream_is_dz: bool,
    gradients: Gradients,
    /// b, α and the row weight of the layer below.
    gradients_below: [Want; 3],
    /// Which of the choices that are enough, here and below.
    saved: [Index; 2],
    seed: u64,
}

fn requests() -> impl Strategy<Value = Request> {
    let size = || prop_oneof![1 => Just(0usize), 6 => 1..9usize, 3 => 9..70usize];
    let source = || select(vec![AlphaSource::Constant, AlphaSource::PerLayer, AlphaSource::PerChannel]);
    let want = || select(vec![Want::No, Want::Overwrite, Want::Accumulate]);
    let layout = select(vec![WeightLayout::OutIn, WeightLayout::InOut]);
    let layers = ((any_ordinary(), source()), option::of((any_ordinary(), source())));
    let wants = (uniform6(want()), uniform3(want()));
    let (after, before) = (Some(ResidualAt::AfterActivation), Some(ResidualAt::BeforeActivation));
    let choices = (any::<[bool; 3]>(), select(vec![None, after, before]));
    ((size(), size(), size()), layout, layers, choices, wants, any::<[Index; 2]>(), any::<u64>()).prop_map(
        |(
            (m, n, k),
            layout,
            (layer, below),
            ([bias, row_weight, upstream_is_dz], residual),
            (wants, gradients_below),
            saved,
            seed,
        )| {
            let [x, w, b, alpha, of_residual, of_weight] = wants;
            Request {
                shape: [m, n, k],
                layout,
                layer,
                below,
                bias,
                residual,
                row_weight,
                upstream_is_dz,
                gradients: Gradients::default().x(x).w(w).b(b).alpha(alpha).residual(of_residual).row_weight(of_weight),
                gradients_below,
                saved,
                seed,
            }
        },
    )
}

/// One gradient: what is allowed is `error`, and the rounding of a sum of its terms.
fn agrees(name: &str, got: &[f32], want: Want, exact: &reference::Gradient, error: &[f64]) -> TestCaseResult {
    for (i, &got) in got.iter().enumerate() {
        let start = f64::from(START);
        let (expected, start) = match want {
            Want::No => {
                prop_assert!(got.is_nan(), "{name}[{i}] was not wanted, and is {got}");
                continue;
            }
            Want::Overwrite => (exact.value[i], 0.0),
            Want::Accumulate => (exact.value[i] + start, start),
        };
        let allowed = error[i] + EPS * 8.0 * (exact.terms[i] + start) + 1e-44;
        let wrong = (f64::from(got) - expected).abs();
        prop_assert!(wrong <= allowed, "{name}[{i}] is {got:e}, not {expected:e} ± {allowed:e}");
    }
    Ok(())
}

/// What the errors of dz make of dx, dw and db: the same products of absolute values.
fn carried(
    request: &AffineRequest,
    x: &[f32],
    w: &[f32],
    dz_off: impl Iterator<Item = f64>,
) -> reference::BackwardOutputs {
    let AffineRequest { m, n, k, layout, .. } = *request;
    let linear = AffineRequest::new(m, n, k, Activation::IDENTITY).layout(layout).bias(false);
    let gradients = Gradients::default();
    let backward = BackwardRequest::new(linear, gradients).upstream_is_dz(true);
    let [x, w] = [x, w].map(|values| values.iter().map(|value| value.abs()).collect::<Vec<_>>());
    // Rounded up.
    let dy: Vec<f32> = dz_off.map(|off| (off * 1.000_001 + 1e-45) as f32).collect();
    reference::backward(&backward, reference::BackwardInputs::new(&x, &w, &dy)).unwrap()
}

/// Σ over rows, or over everything if there is one sum.
fn summed(sums: usize, off: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut out = vec![0.0; sums];
    off.enumerate().for_each(|(i, off)| out[i % sums] += off);
    out
}

/// A request with its operands, and what forward kept of it.
struct Case {
    request: BackwardRequest,
    layer: Layer,
    saved: Saved,
    below: Option<(Layer, Saved)>,
    x: Vec<f32>,
    w: Vec<f32>,
    b: Vec<f32>,
    residual: Vec<f32>,
    row_weight: Vec<f32>,
    dy: Vec<f32>,
    z_below: Vec<f32>,
    row_weight_below: Vec<f32>,
}

/// z, y and the mask of a layer.
struct Kept {
    z: Vec<f32>,
    y: Vec<f32>,
    mask: Vec<u32>,
}

impl Kept {
    fn saved(&self, saved: Saved) -> SavedIn<'_> {
        match saved {
            Saved::Z => SavedIn::Z(&self.z),
            Saved::Y => SavedIn::Y(&self.y),
            Saved::Mask => SavedIn::Mask(&self.mask),
            Saved::Auto | Saved::None => SavedIn::None,
        }
    }
}

impl Case {
    /// Of what is wanted, what the request can give; of what can be saved, what is enough for that.
    fn new(given: Request) -> Self {
        let [m, n, k] = given.shape;
        let layer = Layer::new(given.layer.0, given.layer.1, n);
        let affine = AffineRequest::new(m, n, k, layer.activation)
            .layout(given.layout)
            .alpha(layer.source)
            .bias(given.bias)
            .residual(given.residual)
            .row_weight(given.row_weight);
        let only_if = |possible: bool, want: Want| if possible { want } else { Want::No };
        let of_y = !given.upstream_is_dz;
        let gradients = given
            .gradients
            .alpha(only_if(of_y && layer.learnable(), given.gradients.alpha))
            .residual(only_if(
                given.residual.is_some_and(|at| of_y || at == ResidualAt::BeforeActivation),
                given.gradients.residual,
            ))
            .row_weight(only_if(of_y && given.row_weight, given.gradients.row_weight));
        let saved = *given.saved[0].get(&layer.enough(gradients.need_z(), affine.y_has_more()));
        let below = given.below.map(|(activation, source)| {
            let layer = Layer::new(activation, source, k);
            let [db, dalpha, drow_weight] = given.gradients_below;
            let dalpha = only_if(layer.learnable(), dalpha);
            let row_weight = given.seed.is_multiple_of(2);
            let drow_weight = only_if(row_weight, drow_weight);
            let mut enough = layer.enough(dalpha.wanted() || drow_weight.wanted(), row_weight);
            // The layer below is not computed again.
            enough.retain(|saved| *saved != Saved::None);
            let saved = *given.saved[1].get(&enough);
            (
                Below::new(activation, saved)
                    .alpha(layer.source)
                    .db(db)
                    .dalpha(dalpha)
                    .row_weight(row_weight)
                    .drow_weight(drow_weight),
                layer,
            )
        });
        let mut numbers = Numbers(given.seed);
        let [x, w, b, residual, dy, z_below] = [m * k, n * k, n, m * n, m * n, m * k].map(|length| numbers.vec(length));
        let [row_weight, row_weight_below] = [m, m].map(|length| numbers.vec(length));
        let upstream_is_dz = given.upstream_is_dz;
        let chain = below.as_ref().map(|(below, _)| *below);
        let request = BackwardRequest::new(affine, gradients).upstream_is_dz(upstream_is_dz).below(chain);
        let below = below.map(|(below, layer)| (layer, below.saved));
        Case { request, layer, saved, below, x, w, b, residual, row_weight, dy, z_below, row_weight_below }
    }

    fn bias(&self) -> Option<&[f32]> {
        self.request.affine.bias.then_some(&self.b)
    }

    fn residual(&self) -> Option<&[f32]> {
        self.request.affine.residual.map(|_| &self.residual[..])
    }

    fn row_weight(&self) -> Option<&[f32]> {
        self.request.affine.row_weight.then_some(&self.row_weight)
    }

    fn row_weight_below(&self) -> Option<&[f32]> {
        self.request.below.filter(|below| below.row_weight).map(|_| &self.row_weight_below[..])
    }

    /// z by its sum, y by the z that was found; nothing where they are beyond all bounds.
    fn forward(&self) -> Result<Option<Kept>, TestCaseError> {
        let request = &self.request.affine;
        let (count, n) = (request.m * request.n, request.n);
        let residual = self.residual();
        let inputs = ForwardInputs::new(&self.x, &self.w)
            .b(self.bias())
            .alpha(self.layer.alpha())
            .residual(residual)
            .row_weight(self.row_weight());
        let [mut z, mut y] = [(); 2].map(|()| vec![f32::NAN; count]);
        elbow_cpu::forward(
            request,
            inputs,
            ForwardOutputs { y: &mut y, saved: SavedOut::Z(&mut z), ..Default::default() },
        )
        .unwrap();
        let exact = reference::forward(request, inputs).unwrap();
        // celu with α < 0 grows like an exponential: of sums of infinities there is nothing to say.
        if exact.y.iter().any(|y| y.abs() > 1e30) {
            return Ok(None);
        }
        let tolerance = self.layer.activation.row().tolerance(Quantity::Value);
        for i in 0..count {
            let allowed = 8.0 * EPS * exact.z_terms[i] + 1e-44;
            prop_assert!((f64::from(z[i]) - exact.z[i]).abs() <= allowed, "z[{i}] is {}, not {}", z[i], exact.z[i]);
            let value = self.layer.at(i % n).value(f64::from(z[i]));
            let weight = self.row_weight().map_or(1.0, |weights| f64::from(weights[i / n]));
            let after = residual.filter(|_| request.residual == Some(ResidualAt::AfterActivation));
            let expected = weight * value + after.map_or(0.0, |residual| f64::from(residual[i]));
            let allowed = weight.abs() * tolerance * ulp(value) + ulp(weight * value) + ulp(expected);
            prop_assert!((f64::from(y[i]) - expected).abs() <= allowed, "y[{i}] is {}, not {expected}", y[i]);
        }
        let mut mask = vec![0xdead_beef; request.m * n.div_ceil(32)];
        if self.layer.activation.row().from_bit {
            let mut again = vec![f32::NAN; count];
            let outputs = ForwardOutputs { y: &mut again, saved: SavedOut::Mask(&mut mask), ..Default::default() };
            elbow_cpu::forward(request, inputs, outputs).unwrap();
            prop_assert!(again == y, "y depends on what is saved");
            for i in 0..count {
                let bit = mask[i / n * n.div_ceil(32) + i % n / 32] >> (i % n % 32) & 1 == 1;
                // Where the slope has one value, so have both bits.
                let activation = self.layer.at(i % n);
                let slope = activation.slope(f64::from(z[i]));
                prop_assert!(activation.slope_of_bit(bit) == slope, "bit {i} is {bit}, the slope {slope}");
            }
        }
        Ok(Some(Kept { z, y, mask }))
    }

    /// What the layer below kept.
    fn kept_below(&self) -> Kept {
        let AffineRequest { m, k, .. } = self.request.affine;
        let (mut y, mut mask) = (vec![f32::NAN; m * k], vec![0; m * k.div_ceil(32)]);
        if let Some((below, _)) = &self.below {
            let request = Elementwise::new(m, k, below.activation).alpha(below.source);
            elementwise::forward(&request, &self.z_below, below.alpha(), &mut y).unwrap();
            for (i, z) in self.z_below.iter().enumerate() {
                let bit = below.at(i % k).bit(f64::from(*z));
                mask[i / k * k.div_ceil(32) + i % k / 32] |= u32::from(bit) << (i % k % 32);
            }
        }
        Kept { z: self.z_below.clone(), y, mask }
    }

    fn backward_of_reference(&self, kept: &Kept) -> reference::BackwardOutputs {
        let inputs = reference::BackwardInputs::new(&self.x, &self.w, &self.dy)
            .b(self.bias())
            .alpha(self.layer.alpha())
            .z(Some(&kept.z))
            .z_below(self.below.is_some().then_some(&self.z_below))
            .alpha_below(self.below.as_ref().and_then(|(below, _)| below.alpha()))
            .row_weight(self.row_weight())
            .row_weight_below(self.row_weight_below());
        reference::backward(&self.request, inputs).unwrap()
    }

    fn backward_of_baseline(&self, kept: &Kept, below: &Kept) -> Results {
        let AffineRequest { m, n, k, .. } = self.request.affine;
        let wants = &self.request.gradients;
        let wants_below = self.request.below.map_or([Want::No; 3], |below| [below.db, below.dalpha, below.drow_weight]);
        let [db_want, dalpha_want, weight_want] = wants_below;
        let start = |want, length| vec![if want == Want::Accumulate { START } else { f32::NAN }; length];
        let mut results = Results {
            dx: start(wants.x, m * k),
            dw: start(wants.w, n * k),
            db: start(wants.b, n),
            dalpha: start(wants.alpha, self.layer.alphas(n)),
            dresidual: start(wants.residual, m * n),
            drow_weight: start(wants.row_weight, m),
            drow_weight_below: start(weight_want, m),
            db_below: start(db_want, k),
            dalpha_below: start(dalpha_want, self.below.as_ref().map_or(0, |(below, _)| below.alphas(k))),
        };
        let inputs = BackwardInputs {
            x: &self.x,
            w: &self.w,
            b: self.bias(),
            alpha: self.layer.alpha(),
            dy: &self.dy,
            saved: kept.saved(self.saved),
            saved_below: self.below.as_ref().map_or(SavedIn::None, |(_, saved)| below.saved(*saved)),
            alpha_below: self.below.as_ref().and_then(|(below, _)| below.alpha()),
            residual: self.residual(),
            row_weight: self.row_weight(),
            row_weight_below: self.row_weight_below(),
            ..BackwardInputs::default()
        };
        let outputs = BackwardOutputs {
            dx: Some(&mut results.dx),
            dw: Some(&mut results.dw),
            db: Some(&mut results.db),
            dalpha: Some(&mut results.dalpha),
            dresidual: Some(&mut results.dresidual),
            db_below: Some(&mut results.db_below),
            dalpha_below: Some(&mut results.dalpha_below),
            drow_weight: Some(&mut results.drow_weight),
            drow_weight_below: Some(&mut results.drow_weight_below),
            ..BackwardOutputs::default()
        };
        elbow_cpu::backward(&self.request, inputs, outputs, &mut Workspace::new()).unwrap();
        results
    }
}

/// What the baseline wrote, or left alone.
struct Results {
    dx: Vec<f32>,
    dw: Vec<f32>,
    db: Vec<f32>,
    dalpha: Vec<f32>,
    dresidual: Vec<f32>,
    drow_weight: Vec<f32>,
    db_below: Vec<f32>,
    dalpha_below: Vec<f32>,
    drow_weight_below: Vec<f32>,
}

#[test]
fn random_requests() {
    let property = |given| {
        let case = Case::new(given);
        let Some(kept) = case.forward()? else { return Ok(()) };
        let got = case.backward_of_baseline(&kept, &case.kept_below());
        let exact = case.backward_of_reference(&kept);

        let BackwardRequest { affine: AffineRequest { m, n, k, .. }, gradients: wants, .. } = case.request;
        let layer = &case.layer;
        let weight = |i: usize| case.row_weight().map_or(1.0, |weights| f64::from(weights[i / n].abs()));
        // A weight is multiplied in first, and that is rounded.
        let of_dy = |i: usize| (weight(i) * f64::from(case.dy[i].abs()), f64::from(kept.z[i]));
        let dz_off = (0..m * n).map(of_dy).enumerate().map(|(i, (dy, z))| {
            if case.request.upstream_is_dz { 0.0 } else { dy * layer.slope_error(i % n, z, case.saved) }
        });
        let dz_off: Vec<f64> = dz_off.collect();
        let carried = carried(&case.request.affine, &case.x, &case.w, dz_off.iter().copied());
        agrees("dw", &got.dw, wants.w, &exact.dw, &carried.dw.value)?;
        agrees("db", &got.db, wants.b, &exact.db, &carried.db.value)?;
        let before = case.request.affine.residual == Some(ResidualAt::BeforeActivation);
        let off: Vec<f64> = dz_off.into_iter().map(|off| if before { off } else { 0.0 }).collect();
        agrees("dresidual", &got.dresidual, wants.residual, &exact.dresidual, &off)?;
        let off = (0..m * n).map(|i| {
            let (z, tolerance) = (f64::from(kept.z[i]), layer.activation.row().tolerance(Quantity::Value) + 1.0);
            f64::from(case.dy[i].abs()) * tolerance * ulp(layer.at(i % n).value(z))
        });
        let mut of_rows = vec![0.0; m];
        off.enumerate().for_each(|(i, off)| of_rows[i / n] += off);
        agrees("drow_weight", &got.drow_weight, wants.row_weight, &exact.drow_weight, &of_rows)?;
        let off = (0..m * n).map(of_dy).enumerate().map(|(i, (dy, z))| dy * layer.alpha_slope_error(i % n, z));
        agrees("dalpha", &got.dalpha, wants.alpha, &exact.dalpha, &summed(layer.alphas(n), off))?;

        let (Some((layer, saved)), Some(below)) = (&case.below, case.request.below) else {
            return agrees("dx", &got.dx, wants.x, &exact.dx, &carried.dx.value);
        };
        // f(z_below)·dx, where either may be off.
        let times = |i: usize, factor: f64, factor_off: f64| {
            let off = carried.dx.value[i] + 8.0 * EPS * exact.dx.terms[i];
            off * factor.abs() + (exact.dx.value[i].abs() + off) * factor_off
        };
        let at = |i: usize| (layer.at(i % k), f64::from(case.z_below[i]));
        let mut of_rows = vec![0.0; m];
        for i in 0..m * k {
            let (activation, z) = at(i);
            let tolerance = layer.activation.row().tolerance(Quantity::Value) + 1.0;
            let value = activation.value(z);
            of_rows[i / k] += times(i, value, tolerance * ulp(value));
        }
        agrees("drow_weight_below", &got.drow_weight_below, below.drow_weight, &exact.drow_weight_below, &of_rows)?;
        let weight = |i: usize| case.row_weight_below().map_or(1.0, |weights| f64::from(weights[i / k].abs()));
        let times = |i: usize, factor: f64, factor_off: f64| weight(i) * times(i, factor, factor_off);
        let off = (0..m * k).map(|i| {
            let (activation, z) = at(i);
            times(i, activation.slope(z), layer.slope_error(i % k, z, *saved))
        });
        let off: Vec<f64> = off.collect();
        agrees("dx of a chain", &got.dx, wants.x, &exact.dz_below, &off)?;
        agrees("db_below", &got.db_below, below.db, &exact.db_below, &summed(k, off.into_iter()))?;
        let off = (0..m * k).map(|i| {
            let (activation, z) = at(i);
            times(i, activation.alpha_slope(z), layer.alpha_slope_error(i % k, z))
        });
        agrees("dalpha_below", &got.dalpha_below, below.dalpha, &exact.dalpha_below, &summed(layer.alphas(k), off))
    };
    check(4_000, &requests(), property).unwrap();
}
