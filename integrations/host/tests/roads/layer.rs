//! Layers of any kind with their numbers, run on a host.

use elbow::{
    AlphaSource, Dropout, Result, Saved, Want,
    cpu::{ForwardInputs, FrontInputs, operands::alpha_length},
    request::{AffineRequest, BackwardRequest, DoubleBackwardRequest},
};
use elbow_cpu::{
    BackwardInputs, BackwardOutputs, DoubleBackwardInputs, DoubleBackwardOutputs, ForwardOutputs, SavedIn, SavedOut,
};
use elbow_host::{Host, Road};
use elbow_verify::Numbers;

/// What a call wrote, by name. Masks as numbers.
pub(crate) type Written = Vec<(&'static str, Vec<f32>)>;

/// The numbers of a layer: of every operand that one might have.
pub(crate) struct Layer {
    pub(crate) request: AffineRequest,
    pub(crate) x: Vec<f32>,
    pub(crate) w: Vec<f32>,
    pub(crate) b: Vec<f32>,
    pub(crate) w_up: Vec<f32>,
    pub(crate) b_up: Vec<f32>,
    pub(crate) alpha: Vec<f32>,
    pub(crate) residual: Vec<f32>,
    pub(crate) row_weight: Vec<f32>,
    pub(crate) columns: [Vec<f32>; 4],
    pub(crate) dy: Vec<f32>,
}

impl Layer {
    /// Small integers, so that every sum is exact in any order; or normal numbers.
    pub(crate) fn new(request: AffineRequest, integers: bool) -> Self {
        let (AffineRequest { m, n, k, .. }, of_w) = (request, request.outputs_of_w());
        let mut numbers = Numbers::new((m * 10_000 + n * 100 + k) as u64);
        let mut fill = |length: usize, reach: i32| -> Vec<f32> {
            (0..length).map(|_| if integers { numbers.integer(reach) } else { numbers.normal() }).collect()
        };
        let mut alpha = fill(alpha_length(request.alpha, n), 2);
        alpha.iter_mut().for_each(|alpha| *alpha = if integers { *alpha / 4.0 } else { alpha.abs().min(2.0) + 0.25 });
        Layer {
            request,
            x: fill(m * k, 4),
            w: fill(of_w * k, 4),
            b: fill(of_w, 8),
            w_up: fill(n * k, 2),
            b_up: fill(n, 4),
            alpha,
            residual: fill(m * n, 8),
            row_weight: fill(m, 2),
            columns: [(); 4].map(|()| fill(k, 2)),
            dy: fill(m * n, 4),
        }
    }

    fn alpha(&self) -> Option<&[f32]> {
        (self.request.alpha != AlphaSource::Constant).then_some(&self.alpha[..])
    }

    fn state(&self) -> Option<[u32; 4]> {
        self.request.dropout.map(|_| Dropout::state(3, 5, 0))
    }

    fn front(&self) -> FrontInputs<'_> {
        let Some(front) = &self.request.front else { return FrontInputs::default() };
        let [scale, shift, alpha, _] = &self.columns;
        let alpha = &alpha[..alpha_length(front.alpha, self.request.k)];
        FrontInputs::default()
            .scale(front.scale.then_some(scale))
            .shift(front.shift.then_some(shift))
            .alpha((front.alpha != AlphaSource::Constant).then_some(alpha))
    }

    pub(crate) fn inputs(&self) -> ForwardInputs<'_> {
        let apart = self.request.is_apart();
        ForwardInputs::new(&self.x, &self.w)
            .b(self.request.bias.then_some(&self.b))
            .alpha(self.alpha())
            .residual(self.request.residual.map(|_| &self.residual[..]))
            .row_weight(self.request.row_weight.then_some(&self.row_weight))
            .dropout_state(self.state())
            .front(self.front())
            .w_up(apart.then_some(&self.w_up))
            .b_up((apart && self.request.bias).then_some(&self.b_up))
    }

    /// y, what was kept and the moments, each written over NaN.
    pub(crate) fn forward(&self, host: &Host, saved: Saved) -> Result<(Written, Vec<u32>)> {
        let AffineRequest { m, n, .. } = self.request;
        let mut y = vec![f32::NAN; m * n];
        let mut z = vec![f32::NAN; if saved == Saved::Z { m * self.request.outputs() } else { 0 }];
        let mut mask = vec![u32::MAX; if saved == Saved::Mask { m * n.div_ceil(32) } else { 0 }];
        let norm = self.request.front.and_then(|front| front.norm);
        let mut moments = vec![f32::NAN; norm.map_or(0, |norm| 2 * if norm.of_rows() { m } else { self.request.k })];
        let outputs = ForwardOutputs {
            y: &mut y,
            saved: match saved {
                Saved::Z => SavedOut::Z(&mut z),
                Saved::Mask => SavedOut::Mask(&mut mask),
                _ => SavedOut::None,
            },
            moments: norm.map(|_| &mut moments[..]),
            ..Default::default()
        };
        host.forward(&self.request.saved(saved), self.inputs(), outputs)?;
        Ok((vec![("y", y), ("z", z), ("moments", moments)], mask))
    }

    /// Every gradient that is wanted, written over NaN, or added to 1.
    pub(crate) fn backward(&self, host: &Host, request: &BackwardRequest, saved: Saved) -> Result<Written> {
        let (AffineRequest { m, n, k, .. }, of_w, wants) =
            (self.request, self.request.outputs_of_w(), request.gradients);
        let (forward, mask) = self.forward(&Host::cpu(), saved)?;
        let [y, z, moments] = [0, 1, 2].map(|i| &forward[i].1[..]);
        let below = request.below;
        let inputs = BackwardInputs {
            x: &self.x,
            w: &self.w,
            b: Some(&self.b),
            alpha: self.alpha(),
            dy: &self.dy,
            saved: match saved {
                Saved::Z => SavedIn::Z(z),
                Saved::Y => SavedIn::Y(y),
                Saved::Mask => SavedIn::Mask(&mask),
                _ => SavedIn::None,
            },
            // Of the layer below x is y.
            saved_below: match below.map(|below| below.saved) {
                Some(Saved::Z) => SavedIn::Z(&self.x),
                Some(Saved::Y) => SavedIn::Y(&self.x),
                _ => SavedIn::None,
            },
            residual: Some(if request.skip { &self.x } else { &self.residual }),
            row_weight: self.request.row_weight.then_some(&self.row_weight),
            dropout_state: self.state(),
            w_up: self.inputs().w_up,
            b_up: self.inputs().b_up,
            alpha_below: below.filter(|below| below.alpha != AlphaSource::Constant).map(|_| &self.columns[3][..]),
            row_weight_below: below.filter(|below| below.row_weight).map(|_| &self.row_weight[..]),
            dropout_state_below: below.and_then(|below| below.dropout).map(|_| Dropout::state(3, 5, 1)),
            front: self.front(),
            moments: (!moments.is_empty()).then_some(moments),
        };
        let room = |length: usize, want: Want| vec![if want == Want::Accumulate { 1.0 } else { f32::NAN }; length];
        let alphas = alpha_length(self.request.alpha, n);
        let of_below = below.map_or([Want::No; 3], |below| [below.db, below.dalpha, below.drow_weight]);
        let mut places = [
            ("dx", wants.x, m * k),
            ("dw", wants.w, of_w * k),
            ("db", wants.b, of_w),
            ("dalpha", wants.alpha, alphas),
            ("dresidual", wants.residual, m * n),
            ("drow_weight", wants.row_weight, m),
            ("dscale", wants.scale, k),
            ("dshift", wants.shift, k),
            ("dfront_alpha", wants.front_alpha, k),
            ("dw_up", wants.w_up, n * k),
            ("db_up", wants.b_up, n),
            ("db_below", of_below[0], k),
            ("dalpha_below", of_below[1], k),
            ("drow_weight_below", of_below[2], m),
        ]
        .map(|(name, want, length)| (name, want, room(length, want)));
        let [dx, dw, db, dalpha, dresidual, drow_weight, dscale, dshift, dfront_alpha, dw_up, db_up, of_below @ ..] =
            places.each_mut().map(|(_, want, room)| want.wanted().then_some(&mut room[..]));
        let [db_below, dalpha_below, drow_weight_below] = of_below;
        let outputs = BackwardOutputs {
            dx,
            dw,
            db,
            dalpha,
            dresidual,
            drow_weight,
            dscale,
            dshift,
            dfront_alpha,
            dw_up,
            db_up,
            db_below,
            dalpha_below,
            drow_weight_below,
        };
        host.backward(request, inputs, outputs)?;
        let wanted = places.into_iter().filter(|(_, want, _)| want.wanted());
        Ok(wanted.map(|(name, _, values)| (name, values)).collect())
    }

    /// All gradients of second order.
    pub(crate) fn double_backward(
        &self,
        host: &Host,
        request: &DoubleBackwardRequest,
        saved: Saved,
    ) -> Result<Written> {
        let AffineRequest { m, n, k, .. } = self.request;
        let (forward, _) = self.forward(&Host::cpu(), saved)?;
        let alphas = alpha_length(self.request.alpha, n);
        // Other numbers of the right lengths.
        let [ddx, ddw]: [Vec<f32>; 2] = [&self.x, &self.w].map(|v| v.iter().rev().copied().collect());
        let there = request.returning;
        let inputs = DoubleBackwardInputs {
            x: &self.x,
            w: &self.w,
            b: Some(&self.b),
            alpha: self.alpha(),
            residual: Some(&self.residual),
            dy: &self.dy,
            saved: if saved == Saved::Z { SavedIn::Z(&forward[1].1) } else { SavedIn::None },
            ddx: there.x.then_some(&ddx),
            ddw: there.w.then_some(&ddw),
            ddb: there.b.then_some(&self.b),
            ddalpha: there.alpha.then_some(&self.alpha),
            ddresidual: there.residual.then_some(&self.residual),
        };
        let mut places = [m * n, m * k, n * k, n, alphas, m * n].map(|length| vec![f32::NAN; length]);
        let wants = request.gradients;
        let wants = [wants.dy, wants.x, wants.w, wants.b, wants.alpha, wants.residual];
        let mut at = wants.iter();
        let [ddy, dx2, dw2, db2, dalpha2, dresidual2] =
            places.each_mut().map(|place| at.next().filter(|want| want.wanted()).map(|_| &mut place[..]));
        let outputs = DoubleBackwardOutputs { ddy, dx2, dw2, db2, dalpha2, dresidual2 };
        host.double_backward(request, inputs, outputs)?;
        let names = ["ddy", "dx2", "dw2", "db2", "dalpha2", "dresidual2"];
        Ok(names.into_iter().zip(places).zip(wants).filter(|(_, want)| want.wanted()).map(|(named, _)| named).collect())
    }
}

/// The road of a host that has one.
pub(crate) fn road(host: &Host) -> Road {
    host.road(&AffineRequest::new(1, 1, 1, elbow::Activation::RELU)).unwrap()
}
