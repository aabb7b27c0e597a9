//! The fused layer on the device: y = act(x·Wᵀ + b; α) (+ residual), and its gradients.
//!
//! Shapes: x `[.., K]` (leading dimensions flatten to M rows), w `[N, K]` or `[K, N]`, b `[N]`, alpha `[1]` or `[N]`,
//! residual and y `[.., N]`. Everything is recorded into the caller's encoder or pass; nothing is submitted.
//!
//! Many layers of one shape are one call: w `[E, N, K]` (or `[E, K, N]`) says that there are E of them, each with operands of
//! its own, and every operand begins with E: x `[E, .., K]`, b `[E, N]`, alpha `[E]` or `[E, N]`, residual and y `[E, .., N]`, what was
//! saved, and the gradients. Each layer gets the bits that a call of its own would give it, where that call's operands are
//! aligned as the batch's are. A call of backward without w says E by dw.

mod batch;

pub use crate::operands::Gradient;
use crate::{
    activation::Activation,
    error::{Error, Result},
    gpu::{
        Gpu,
        record::{Operands, View},
    },
    operands::{
        alpha_source, expect_like, expect_rows, expect_saved, expect_vector, layout_name, recorded, view, want,
        weight_n, weight_shape, wrong_shape,
    },
    plan::{self, Pin, Plan},
    request::{AffineRequest, BackwardRequest, Below, Gradients, Operand, Road, Saved, WeightLayout},
    shape,
};

/// One forward call: its operands and its choices.
#[derive(Debug, Clone, Copy)]
pub struct Forward<'a> {
    /// The activation.
    pub activation: Activation,
    /// How w lies.
    pub layout: WeightLayout,
    /// What is kept for backward.
    pub saved: Saved,
    /// Input `[.., K]`.
    pub x: View<'a>,
    /// Weight.
    pub w: View<'a>,
    /// Bias `[N]`.
    pub b: Option<View<'a>>,
    /// Learnable α: `[1]` or `[N]`. Without it the activation's own number counts.
    pub alpha: Option<View<'a>>,
    /// Added after the activation, `[.., N]`; may be the memory of y.
    pub residual: Option<View<'a>>,
    /// Output `[.., N]`.
    pub y: View<'a>,
    /// Where z (`[.., N]`) or the mask (`[.., ⌈N/32⌉]` words) goes, if the choice calls for one.
    pub save_to: Option<View<'a>>,
    /// Choices taken away from the plan.
    pub pin: Pin,
}

impl<'a> Forward<'a> {
    /// y = act(x·Wᵀ), nothing kept (`Saved::Y`, or `Saved::None`: backward recomputes): set what else there is.
    pub fn new(activation: Activation, x: impl Into<View<'a>>, w: impl Into<View<'a>>, y: impl Into<View<'a>>) -> Self {
        Forward {
            activation,
            layout: WeightLayout::OutIn,
            saved: Saved::None,
            x: x.into(),
            w: w.into(),
            b: None,
            alpha: None,
            residual: None,
            y: y.into(),
            save_to: None,
            pin: Pin::default(),
        }
    }

    /// The request that the operands' shapes make, in a batch that of one layer; an error names the operand that does not fit.
    pub fn request(&self) -> Result<AffineRequest> {
        let (batch, one) = self.one()?;
        one.request_of_one().map_err(|error| batch::said_of_each(batch, error))
    }

    fn request_of_one(&self) -> Result<AffineRequest> {
        let (m, k) = shape::rows_and_columns(Operand::X, self.x.shape)?;
        let n = weight_n(self.w, self.layout, k)?;
        expect_rows(Operand::Y, self.y, m, n)?;
        expect_vector(Operand::B, self.b, n)?;
        if let Some(residual) = self.residual {
            expect_rows(Operand::Residual, residual, m, n)?;
        }
        let request = AffineRequest {
            m,
            n,
            k,
            layout: self.layout,
            activation: self.activation,
            alpha: alpha_source(Operand::Alpha, self.alpha, n)?,
            bias: self.b.is_some(),
            residual: self.residual.is_some(),
            saved: self.saved,
            storage: self.operands().storage(),
        };
        request.check_sizes()?;
        let saved = request.resolve_saved(false)?;
        expect_saved(Operand::Saved, self.save_to, saved, m, n, matches!(saved, Saved::Z | Saved::Mask))?;
        Ok(request)
    }

    fn operands(&self) -> Operands<'a> {
        let mut operands = Operands::default();
        operands.add(Operand::X, self.x).add(Operand::W, self.w).add(Operand::B, self.b);
        operands.add(Operand::Alpha, self.alpha).add(Operand::Residual, self.residual);
        operands.add(Operand::Y, self.y).add(Operand::Saved, self.save_to);
        operands.in_place(Operand::Y, Operand::Residual);
        operands
    }

    /// What will run.
    pub fn plan(&self, gpu: &Gpu) -> Result<Plan> {
        let in_place = self.residual.is_some_and(|r| r.same_memory(&self.y));
        let layers = self.one()?.0.map_or(1, |batch| batch.0);
        let aligned = self.operands().aligned();
        plan::forward_batch(layers, &self.request()?, aligned, in_place, &gpu.caps(), &self.pin)
    }
}

/// One backward call: gradients that are `None` are not computed.
#[derive(Debug, Clone, Copy)]
pub struct Backward<'a> {
    /// The activation.
    pub activation: Activation,
    /// How w lies.
    pub layout: WeightLayout,
    /// What forward kept.
    pub saved: Saved,
    /// Whether forward added a residual.
    pub residual: bool,
    /// Upstream gradient `[.., N]`; with `dy_is_dz` the gradient with respect to z, as a chain wrote it.
    pub dy: View<'a>,
    /// dy holds dz already: no slope is applied.
    pub dy_is_dz: bool,
    /// Input: for dw, and where z is computed again.
    pub x: Option<View<'a>>,
    /// Weight: for dx, and where z is computed again.
    pub w: Option<View<'a>>,
    /// Bias: where z is computed again.
    pub b: Option<View<'a>>,
    /// Learnable α.
    pub alpha: Option<View<'a>>,
    /// z, y or the mask.
    pub saved_from: Option<View<'a>>,
    /// dx `[.., K]`; with `below` it receives dz of the layer below.
    pub dx: Option<Gradient<'a>>,
    /// dW, shaped as w.
    pub dw: Option<Gradient<'a>>,
    /// db `[N]`.
    pub db: Option<Gradient<'a>>,
    /// dα, shaped as alpha.
    pub dalpha: Option<Gradient<'a>>,
    /// d(residual) = dy.
    pub dresidual: Option<Gradient<'a>>,
    /// Chain: the layer whose output is this layer's x.
    pub below: Option<ChainBelow<'a>>,
    /// Which road.
    pub road: Road,
    /// Choices taken away from the plan.
    pub pin: Pin,
}

/// The layer below in a chain: its slope is applied in the epilogue of the dx product, and its db and dα are reduced from
/// the same tiles.
#[derive(Debug, Clone, Copy)]
pub struct ChainBelow<'a> {
    /// Its activation.
    pub activation: Activation,
    /// What it kept: z, y or the mask.
    pub saved: Saved,
    /// That operand, `[.., K]` of this layer.
    pub saved_from: Option<View<'a>>,
    /// Its learnable α.
    pub alpha: Option<View<'a>>,
    /// Gradient of its bias.
    pub db: Option<Gradient<'a>>,
    /// Gradient of its α.
    pub dalpha: Option<Gradient<'a>>,
}

impl<'a> Backward<'a> {
    /// No gradient wanted yet: set those that are.
    pub fn new(activation: Activation, saved: Saved, dy: impl Into<View<'a>>) -> Self {
        Backward {
            activation,
            layout: WeightLayout::OutIn,
            saved,
            residual: false,
            dy: dy.into(),
            dy_is_dz: false,
            x: None,
            w: None,
            b: None,
            alpha: None,
            saved_from: None,
            dx: None,
            dw: None,
            db: None,
            dalpha: None,
            dresidual: None,
            below: None,
            road: Road::Auto,
            pin: Pin::default(),
        }
    }

    /// The request that the operands' shapes make, in a batch that of one layer.
    pub fn request(&self) -> Result<BackwardRequest> {
        let (batch, one) = self.one()?;
        one.request_of_one().map_err(|error| batch::said_of_each(batch, error))
    }

    fn request_of_one(&self) -> Result<BackwardRequest> {
        let (m, n) = shape::rows_and_columns(Operand::Dy, self.dy.shape)?;
        let k = self.in_features(n)?;
        if let Some(x) = self.x {
            expect_rows(Operand::X, x, m, k)?;
        }
        if let Some(dx) = self.dx {
            expect_rows(Operand::Dx, dx.view, m, k)?;
        }
        for (operand, w) in [(Operand::W, self.w), (Operand::Dw, view(&self.dw))] {
            if let Some(w) = w {
                let expected = weight_shape(self.layout, n, k);
                if w.shape != expected {
                    return Err(wrong_shape(operand, format!("{expected:?} ({})", layout_name(self.layout)), w));
                }
            }
        }
        expect_vector(Operand::B, self.b, n)?;
        expect_vector(Operand::Db, view(&self.db), n)?;
        if let Some(dresidual) = self.dresidual {
            expect_rows(Operand::Dresidual, dresidual.view, m, n)?;
        }
        let alpha = alpha_source(Operand::Alpha, self.alpha, n)?;
        expect_like(Operand::Dalpha, view(&self.dalpha), self.alpha)?;
        let affine = AffineRequest {
            m,
            n,
            k,
            layout: self.layout,
            activation: self.activation,
            alpha,
            bias: self.b.is_some(),
            residual: self.residual,
            saved: self.saved,
            storage: self.operands().storage(),
        };
        let gradients = Gradients {
            x: want(&self.dx),
            w: want(&self.dw),
            b: want(&self.db),
            alpha: want(&self.dalpha),
            residual: want(&self.dresidual),
        };
        affine.check_sizes()?;
        self.check_needs(&affine, &gradients)?;
        let below = self.below.map(|below| below.facts(m, k)).transpose()?;
        Ok(BackwardRequest { affine, gradients, road: self.road, upstream_is_dz: self.dy_is_dz, below })
    }

    /// K, from the first operand that tells.
    fn in_features(&self, n: usize) -> Result<usize> {
        if let Some(x) = self.x {
            return Ok(shape::rows_and_columns(Operand::X, x.shape)?.1);
        }
        if let Some(dx) = self.dx {
            return Ok(shape::rows_and_columns(Operand::Dx, dx.view.shape)?.1);
        }
        match (self.w, self.layout) {
            (Some(View { shape: &[_, k], .. }), WeightLayout::OutIn) => Ok(k),
            (Some(View { shape: &[k, _], .. }), WeightLayout::InOut) => Ok(k),
            (Some(w), layout) => {
                Err(wrong_shape(Operand::W, format!("two dimensions ({}), N = {n}", layout_name(layout)), w))
            }
            (None, _) => Ok(0),
        }
    }

    /// Operands that the wanted gradients need.
    fn check_needs(&self, affine: &AffineRequest, wants: &Gradients) -> Result<()> {
        let needed = |operand, given: bool, why: &str| match given {
            true => Ok(()),
            false => Err(Error::Operand { operand, expected: why.to_owned(), got: "none".into() }),
        };
        if wants.x.wanted() {
            needed(Operand::W, self.w.is_some(), "the weight: dx = dz·W")?;
        }
        if wants.w.wanted() {
            needed(Operand::X, self.x.is_some(), "the input: dW = dzᵀ·x")?;
        }
        let slope = wants.x.wanted() || wants.w.wanted() || wants.b.wanted() || wants.alpha.wanted();
        if self.dy_is_dz || !slope || (self.activation.needs_nothing() && !wants.alpha.wanted()) {
            return Ok(());
        }
        let saved = affine.resolve_saved(wants.alpha.wanted())?;
        if saved == Saved::None {
            needed(Operand::X, self.x.is_some(), "the input: z was not saved and is computed again")?;
            needed(Operand::W, self.w.is_some(), "the weight: z was not saved and is computed again")?;
            return Ok(());
        }
        expect_saved(Operand::Saved, self.saved_from, saved, affine.m, affine.n, true)
    }

    fn operands(&self) -> Operands<'a> {
        let mut operands = Operands::default();
        operands.add(Operand::X, self.x).add(Operand::W, self.w).add(Operand::B, self.b);
        operands.add(Operand::Alpha, self.alpha).add(Operand::Saved, self.saved_from).add(Operand::Dy, self.dy);
        operands.add(Operand::Dx, view(&self.dx)).add(Operand::Dw, view(&self.dw)).add(Operand::Db, view(&self.db));
        operands.add(Operand::Dalpha, view(&self.dalpha)).add(Operand::Dresidual, view(&self.dresidual));
        if let Some(below) = &self.below {
            operands.add(Operand::SavedBelow, below.saved_from).add(Operand::AlphaBelow, below.alpha);
            operands.add(Operand::DbBelow, view(&below.db)).add(Operand::DalphaBelow, view(&below.dalpha));
        }
        operands
    }

    /// What will run.
    pub fn plan(&self, gpu: &Gpu) -> Result<Plan> {
        let layers = self.one()?.0.map_or(1, |batch| batch.0);
        let aligned = self.operands().aligned();
        plan::backward_batch(layers, &self.request()?, aligned, &gpu.caps(), &self.pin)
    }
}

recorded!(Forward, Backward);

impl ChainBelow<'_> {
    fn facts(&self, m: usize, k: usize) -> Result<Below> {
        let alpha = alpha_source(Operand::AlphaBelow, self.alpha, k)?;
        expect_vector(Operand::DbBelow, view(&self.db), k)?;
        expect_like(Operand::DalphaBelow, view(&self.dalpha), self.alpha)?;
        let layer = AffineRequest { alpha, saved: self.saved, ..AffineRequest::new(m, k, 0, self.activation) };
        let saved = layer.resolve_saved(self.dalpha.is_some())?;
        if saved != Saved::None {
            expect_saved(Operand::SavedBelow, self.saved_from, saved, m, k, true)?;
        }
        Ok(Below {
            activation: self.activation,
            alpha,
            saved: self.saved,
            db: want(&self.db),
            dalpha: want(&self.dalpha),
        })
    }
}
