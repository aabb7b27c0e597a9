//! The CPU baseline against the reference on random requests: any activation, α, layout, bias, residual, saved choice,
//! gradients wanted, overwritten or accumulated each by itself, and chains with any sufficient saved choice below.
//!
//! What is allowed is computed for each element: the tolerance of the row, carried through the products.

use elbow::{
    activation::{Activation, Quantity},
    cpu::{
        Elementwise, ForwardInputs,
        baseline::{self, BackwardInputs, BackwardOutputs, ForwardOutputs, SavedIn, SavedOut, Workspace},
        reference,
    },
    request::{AffineRequest, AlphaSource, BackwardRequest, Below, Gradients, Road, Saved, Want, WeightLayout},
};
use proptest::{prelude::*, test_runner::TestCaseResult};

use crate::{
    common::{Numbers, any_ordinary, check, size, ulp},
    require,
};

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
        let enough =
            |saved: &Saved| self.activation.saved_is_enough(*saved, self.learnable(), dalpha, residual).is_ok();
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

fn wants() -> impl Strategy<Value = Want> {
    prop::sample::select(vec![Want::No, Want::Overwrite, Want::Accumulate])
}

#[derive(Debug, Clone)]
struct Request {
    shape: [usize; 3],
    layout: WeightLayout,
    layer: (Activation, AlphaSource),
    below: Option<(Activation, AlphaSource)>,
    bias: bool,
    residual: bool,
    upstream_is_dz: bool,
    /// x, w, b, α, residual, b and α below.
    wants: [Want; 7],
    saved: [prop::sample::Index; 2],
    seed: u64,
}

fn requests() -> impl Strategy<Value = Request> {
    let size = || prop_oneof![1 => Just(0usize), 6 => 1..9usize, 3 => 9..70usize];
    let source = || prop::sample::select(vec![AlphaSource::Constant, AlphaSource::PerLayer, AlphaSource::PerChannel]);
    let layout = prop::sample::select(vec![WeightLayout::OutIn, WeightLayout::InOut]);
    let layers = ((any_ordinary(), source()), prop::option::of((any_ordinary(), source())));
    let saved = any::<[prop::sample::Index; 2]>();
    let wants = prop::array::uniform7(wants());
    ((size(), size(), size()), layout, layers, any::<[bool; 3]>(), wants, saved, any::<u64>()).prop_map(
        |((m, n, k), layout, (layer, below), [bias, residual, upstream_is_dz], wants, saved, seed)| Request {
            shape: [m, n, k],
            layout,
            layer,
            below,
            bias,
            residual,
            upstream_is_dz,
            wants,
            saved,
            seed,
        },
    )
}

/// One gradient: what is allowed is `error`, and the rounding of a sum of its terms.
fn agrees(name: &str, got: &[f32], want: Want, exact: &reference::Gradient, error: &[f64]) -> TestCaseResult {
    for (i, &got) in got.iter().enumerate() {
        let start = f64::from(START);
        let (expected, start) = match want {
            Want::No => {
                require!(got.is_nan(), "{name}[{i}] was not wanted, and is {got}");
                continue;
            }
            Want::Overwrite => (exact.value[i], 0.0),
            Want::Accumulate => (exact.value[i] + start, start),
        };
        let allowed = error[i] + EPS * 8.0 * (exact.terms[i] + start) + 1e-44;
        let wrong = (f64::from(got) - expected).abs();
        require!(wrong <= allowed, "{name}[{i}] is {got:e}, not {expected:e} ± {allowed:e}");
    }
    Ok(())
}

/// What the errors of dz make of dx, dw and db: the same products of absolute values.
fn carried(request: &AffineRequest, x: &[f32], w: &[f32], dz_error: &[f64]) -> reference::BackwardOutputs {
    let absolute = |values: &[f32]| values.iter().map(|value| value.abs()).collect::<Vec<_>>();
    let linear = AffineRequest {
        activation: Activation::IDENTITY,
        alpha: AlphaSource::Constant,
        bias: false,
        residual: false,
        ..*request
    };
    let backward = BackwardRequest {
        affine: linear,
        gradients: Gradients::default(),
        road: Road::Auto,
        upstream_is_dz: true,
        below: None,
    };
    // Rounded up.
    let dy: Vec<f32> = dz_error.iter().map(|error| (error * 1.000_001 + 1e-45) as f32).collect();
    let (x, w) = (absolute(x), absolute(w));
    let inputs = reference::BackwardInputs { x: &x, w: &w, dy: &dy, ..Default::default() };
    reference::backward(&backward, inputs).unwrap()
}

/// Σ over rows (α per channel) or over everything.
fn summed(layer: &Layer, channels: usize, errors: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut sums = vec![0.0; if layer.source == AlphaSource::PerChannel { channels } else { 1 }];
    let count = sums.len();
    for (i, error) in errors.enumerate() {
        sums[if count == 1 { 0 } else { i % channels }] += error;
    }
    sums
}

fn mask_of(layer: &Layer, z: &[f32], channels: usize) -> Vec<u32> {
    let words = channels.div_ceil(32);
    let mut mask = vec![0; if channels == 0 { 0 } else { z.len() / channels * words }];
    for (i, z) in z.iter().enumerate() {
        let (row, channel) = (i / channels, i % channels);
        mask[row * words + channel / 32] |= u32::from(layer.at(channel).bit(f64::from(*z))) << (channel % 32);
    }
    mask
}

#[test]
fn random_requests() {
    check(4_000, &requests(), one).unwrap();
}

fn one(given: Request) -> TestCaseResult {
    let [m, n, k] = given.shape;
    let layer = Layer::new(given.layer.0, given.layer.1, n);
    let request = AffineRequest {
        m,
        n,
        k,
        layout: given.layout,
        activation: layer.activation,
        alpha: layer.source,
        bias: given.bias,
        residual: given.residual,
        saved: Saved::Auto,
    };
    let mut numbers = Numbers(given.seed);
    let [x, w, b, residual, dy, z_below] = [m * k, n * k, n, m * n, m * n, m * k].map(|length| numbers.vec(length));
    let inputs = ForwardInputs {
        x: &x,
        w: &w,
        b: given.bias.then_some(&b),
        alpha: layer.alpha(),
        residual: given.residual.then_some(&residual),
    };

    // Forward: z by its sum, y by the z that was found.
    let mut z = vec![f32::NAN; m * n];
    let mut y = vec![f32::NAN; m * n];
    baseline::forward(&request, inputs, ForwardOutputs { y: &mut y, saved: SavedOut::Z(&mut z) }).unwrap();
    let exact = reference::forward(&request, inputs).unwrap();
    // celu with α < 0 grows like an exponential: of sums of infinities there is nothing to say.
    if exact.y.iter().any(|y| y.abs() > 1e30) {
        return Ok(());
    }
    for i in 0..m * n {
        let allowed = 8.0 * EPS * exact.z_terms[i] + 1e-44;
        require!((f64::from(z[i]) - exact.z[i]).abs() <= allowed, "z[{i}] is {}, not {}", z[i], exact.z[i]);
        let (activation, z) = (layer.at(i % n), f64::from(z[i]));
        let added = if given.residual { f64::from(residual[i]) } else { 0.0 };
        let tolerance = layer.activation.row().tolerance(Quantity::Value);
        let allowed = tolerance * ulp(activation.value(z)) + ulp(activation.value(z) + added);
        let expected = activation.value(z) + added;
        require!((f64::from(y[i]) - expected).abs() <= allowed, "y[{i}] is {}, not {expected}, z is {z}", y[i]);
    }
    let mut mask = vec![0xdead_beef; m * n.div_ceil(32)];
    if layer.activation.row().from_bit {
        let mut again = vec![f32::NAN; m * n];
        baseline::forward(&request, inputs, ForwardOutputs { y: &mut again, saved: SavedOut::Mask(&mut mask) })
            .unwrap();
        require!(again == y, "y depends on what is saved");
        // A bit may differ where both stand for the same slope.
        for i in 0..m * n {
            let bit = mask[i / n * n.div_ceil(32) + i % n / 32] >> (i % n % 32) & 1 == 1;
            let activation = layer.at(i % n);
            require!(activation.slope_of_bit(bit) == activation.slope(f64::from(z[i])), "the bit of {i} is {bit}");
        }
    }

    // What is wanted, of what the request can give.
    let mut wants = given.wants;
    if given.upstream_is_dz || !layer.learnable() {
        wants[3] = Want::No;
    }
    if given.upstream_is_dz || !given.residual {
        wants[4] = Want::No;
    }
    let choices = layer.enough(wants[3].wanted(), given.residual);
    let saved = *given.saved[0].get(&choices);
    let below = given.below.map(|(activation, source)| Layer::new(activation, source, k));
    if below.as_ref().is_none_or(|below| !below.learnable()) {
        wants[6] = Want::No;
    }
    let below_choices: Vec<_> = below.iter().flat_map(|below| below.enough(wants[6].wanted(), false)).collect();
    let below_choices: Vec<_> = below_choices.into_iter().filter(|saved| *saved != Saved::None).collect();
    let saved_below = below.as_ref().map(|_| *given.saved[1].get(&below_choices));
    let request = BackwardRequest {
        affine: request,
        gradients: Gradients { x: wants[0], w: wants[1], b: wants[2], alpha: wants[3], residual: wants[4] },
        road: Road::Auto,
        upstream_is_dz: given.upstream_is_dz,
        below: below.as_ref().zip(saved_below).map(|(below, saved)| Below {
            activation: below.activation,
            alpha: below.source,
            saved,
            db: wants[5],
            dalpha: wants[6],
        }),
    };
    let alpha_below = below.as_ref().and_then(Layer::alpha);
    let exact = reference::backward(
        &request,
        reference::BackwardInputs {
            x: &x,
            w: &w,
            b: inputs.b,
            alpha: inputs.alpha,
            dy: &dy,
            z: Some(&z),
            z_below: below.is_some().then_some(&z_below),
            alpha_below,
        },
    )
    .unwrap();

    // y without the residual is what the layer below gave.
    let mut y_below = vec![f32::NAN; m * k];
    let mut mask_below = vec![];
    if let Some(below) = &below {
        let elementwise = Elementwise { rows: m, channels: k, activation: below.activation, alpha: below.source };
        baseline::elementwise::forward(&elementwise, &z_below, below.alpha(), &mut y_below).unwrap();
        mask_below = mask_of(below, &z_below, k);
    }
    let inputs = BackwardInputs {
        x: &x,
        w: &w,
        b: inputs.b,
        alpha: inputs.alpha,
        dy: &dy,
        saved: match saved {
            Saved::Z => SavedIn::Z(&z),
            Saved::Y => SavedIn::Y(&y),
            Saved::Mask => SavedIn::Mask(&mask),
            _ => SavedIn::None,
        },
        saved_below: match saved_below {
            Some(Saved::Z) => SavedIn::Z(&z_below),
            Some(Saved::Y) => SavedIn::Y(&y_below),
            Some(Saved::Mask) => SavedIn::Mask(&mask_below),
            _ => SavedIn::None,
        },
        alpha_below,
    };
    let start = |want: Want, length: usize| vec![if want == Want::Accumulate { START } else { f32::NAN }; length];
    let of_alpha = |layer: &Layer, channels| if layer.source == AlphaSource::PerChannel { channels } else { 1 };
    let [mut dx, mut dw, mut db] =
        [(wants[0], m * k), (wants[1], n * k), (wants[2], n)].map(|(want, length)| start(want, length));
    let mut dalpha = start(wants[3], of_alpha(&layer, n));
    let mut dresidual = start(wants[4], m * n);
    let mut db_below = start(wants[5], k);
    let mut dalpha_below = start(wants[6], below.as_ref().map_or(0, |below| of_alpha(below, k)));
    let outputs = BackwardOutputs {
        dx: Some(&mut dx),
        dw: Some(&mut dw),
        db: Some(&mut db),
        dalpha: Some(&mut dalpha),
        dresidual: Some(&mut dresidual),
        db_below: Some(&mut db_below),
        dalpha_below: Some(&mut dalpha_below),
    };
    baseline::backward(&request, inputs, outputs, &mut Workspace::new()).unwrap();

    let off = |i: usize| f64::from(dy[i].abs()) * layer.slope_error(i % n, f64::from(z[i]), saved);
    let dz_error: Vec<f64> = (0..m * n).map(|i| if given.upstream_is_dz { 0.0 } else { off(i) }).collect();
    let carried = carried(&request.affine, &x, &w, &dz_error);
    agrees("dw", &dw, wants[1], &exact.dw, &carried.dw.value)?;
    agrees("db", &db, wants[2], &exact.db, &carried.db.value)?;
    let off = |i: usize| f64::from(dy[i].abs()) * layer.alpha_slope_error(i % n, f64::from(z[i]));
    agrees("dalpha", &dalpha, wants[3], &exact.dalpha, &summed(&layer, n, (0..m * n).map(off)))?;
    agrees("dresidual", &dresidual, wants[4], &exact.dresidual, &vec![0.0; m * n])?;
    let Some((below, saved)) = below.zip(saved_below) else {
        return agrees("dx", &dx, wants[0], &exact.dx, &carried.dx.value);
    };
    let z = |i: usize| f64::from(z_below[i]);
    let dx_error = |i: usize| carried.dx.value[i] + 8.0 * EPS * exact.dx.terms[i];
    let dz_below_error: Vec<f64> = (0..m * k)
        .map(|i| {
            let slope = below.at(i % k).slope(z(i)).abs();
            dx_error(i) * slope + (exact.dx.value[i].abs() + dx_error(i)) * below.slope_error(i % k, z(i), saved)
        })
        .collect();
    agrees("dx of a chain", &dx, wants[0], &exact.dz_below, &dz_below_error)?;
    let mut db_error = vec![0.0; k];
    dz_below_error.iter().enumerate().for_each(|(i, error)| db_error[i % k] += error);
    agrees("db_below", &db_below, wants[5], &exact.db_below, &db_error)?;
    let off = |i: usize| {
        let slope = below.at(i % k).alpha_slope(z(i)).abs();
        dx_error(i) * slope + (exact.dx.value[i].abs() + dx_error(i)) * below.alpha_slope_error(i % k, z(i))
    };
    agrees("dalpha_below", &dalpha_below, wants[6], &exact.dalpha_below, &summed(&below, k, (0..m * k).map(off)))
}
