//! Fronts: what x goes through in front of a product. Its statistics are computed first; then each load of the product computes what it needs, or a pass
//! writes all of it before. Backward has the front's derivative where the product that makes dx is finished, or in a pass behind it; and where
//! the statistics depend on x, a pass with the means of that moves dx.

use super::{
    Along, Builder, Caps, DeviceClass, Pin, Plan,
    builder::{PartialSums, workgroups},
    pieces::ELEMENT,
    programs::{
        self, Upstream,
        front::{self, FRONT, Wanted},
    },
    reduce::{self, ColumnPass, Fold, Sums},
    training::row_lanes,
};
use crate::{
    activation::Activation,
    error::Result,
    kernel::{Elem, KernelFile, MOST_SLOTS},
    norm::Norm,
    operand::Operand,
    program::{Over, Program},
    request::{AffineRequest, BackwardRequest, Front, Strategy, Want},
};

/// What the plans of a front have in common.
pub(super) struct Fronted<'a> {
    pub(super) affine: &'a AffineRequest,
    pub(super) aligned: bool,
    pub(super) caps: &'a Caps,
    pub(super) pin: &'a Pin,
}

/// The most columns of an output for which computing at each load is cheaper than a pass, which moves 8 bytes an element of x. An expensive activation: those
/// of one tile. A piecewise one adds a tenth to a step of the product (docs/isa.tsv), as long as a pass at 1,600 columns with 40 operations a byte, at
/// 600 with 15.
const NARROW: usize = 128;
const NARROW_IF_CHEAP: usize = 1024;

impl Fronted<'_> {
    fn pass(&self) -> ColumnPass {
        let AffineRequest { m, k, storage, .. } = *self.affine;
        let (m, n) = (m as u64, k as u64);
        ColumnPass { m, n, row_numbers: m, storage, in_place: None, fold: Fold::Sum }
    }

    /// Adds a pass over x, whose only activation is the front's.
    fn run(&self, plan: &mut Plan, program: &Program, front: &Front) -> Result<PartialSums> {
        reduce::pass(plan, &self.pass(), program, &[front.activation], self.aligned, self.caps)
    }

    /// Adds what computes the statistics of x.
    pub(super) fn moments(&self, plan: &mut Plan, front: &Front) -> Result<()> {
        let Some(norm) = &front.norm else { return Ok(()) };
        let columns = self.pass();
        if columns.m == 0 || columns.n == 0 {
            return Ok(());
        }
        if norm.of_rows() {
            return self.row_moments(plan, norm);
        }
        if norm.is_running() {
            let one = ColumnPass { m: 1, row_numbers: 1, ..columns };
            let program = front::moments_of_running(norm);
            return reduce::pass(plan, &one, &program, &[front.activation], self.aligned, self.caps).map(drop);
        }
        let sums = self.run(plan, &front::moments_terms(), front)?;
        let count = columns.m as f32;
        let unbiased = count / (count - 1.0).max(1.0);
        let numbers = [1.0 / count, 1.0, norm.get_momentum(), unbiased];
        reduce::finished(plan, sums.columns, &front::moments(norm, front.running), numbers, self.last_stage())
    }

    /// The kernel of a last stage of sums, whose operands have the call's types.
    fn last_stage(&self) -> Builder {
        Builder::storing(KernelFile::ColumnSum, self.affine.storage, self.caps)
    }

    fn row_moments(&self, plan: &mut Plan, norm: &Norm) -> Result<()> {
        let ColumnPass { m, n, storage, .. } = self.pass();
        let wide = self.aligned && n.is_multiple_of(4);
        let (elem, width) = if wide { (Elem::Four, 4) } else { (Elem::Scalar, 1) };
        let (lanes, span) = row_lanes(self.caps, m, n / width);
        let mut k = Builder::storing(KernelFile::RowMoments, storage, self.caps);
        k.flag("LANES", lanes).flag("SPAN", span).on("SHARED_ROWS", span > 1).on("WIDE", wide);
        k.on("CENTRED", norm.has_mean());
        k.read_rows("x", elem, Operand::X, [m, n]);
        k.write("moments", Elem::Scalar, Operand::Moments, 2 * m).along(Along::All);
        k.params.p[0] = norm.get_epsilon();
        k.cut.rows = u64::from(lanes / span);
        k.cut.work = k.cut.rows * n * ELEMENT;
        k.params.rows = m as u32;
        k.params.cols = n as u32;
        k.params.tiles = workgroups(m.div_ceil(k.cut.rows))?;
        plan.dispatches.push(k.build());
        Ok(())
    }

    /// The program that loads what goes into a product, which is finished like this and has this for B: with the front computed at each load, or
    /// from where a pass, added here, has written it.
    pub(super) fn entering(&self, plan: &mut Plan, finish: &Program, other: &Program) -> Result<Program> {
        let Some(front) = &self.affine.front else { return Ok(programs::plain(Operand::X)) };
        let at_each_load = front::entering(front, FRONT);
        if self.computes_loads(front) && self.binds([&at_each_load, finish, other]) {
            return Ok(at_each_load);
        }
        self.run(plan, &front::fronted(front), front)?;
        Ok(programs::plain(Operand::Fronted))
    }

    /// Whether each load computes the front. Not on software adapters, where every tile loads anew, nor beside matrix units, which
    /// would wait.
    fn computes_loads(&self, front: &Front) -> bool {
        match self.pin.strategy {
            Strategy::Prologue => true,
            Strategy::TwoPass => false,
            Strategy::Auto => {
                let most = if front.activation.is_piecewise() { NARROW_IF_CHEAP } else { NARROW };
                let narrow = self.affine.outputs() <= most;
                self.caps.class != DeviceClass::Software && self.caps.matrix_size == 0 && narrow
            }
        }
    }

    /// Whether a kernel of these programs has no more bindings than the device.
    pub(super) fn binds(&self, programs: [&Program; 3]) -> bool {
        let mut operands: Vec<Operand> =
            programs.iter().flat_map(|program| program.accesses()).map(|access| access.operand).collect();
        operands.sort_unstable();
        operands.dedup();
        let sums = [Over::Rows, Over::Columns].map(|over| programs.iter().any(|program| program.sums(over) > 0));
        let bindings = operands.len() + sums.into_iter().filter(|there| *there).count();
        bindings <= (self.caps.max_bindings as usize).min(MOST_SLOTS)
    }
}

/// What finishes the product dz·W of a layer with a front.
pub(super) struct Back<'a> {
    of: &'a Fronted<'a>,
    front: &'a Front,
    wanted: Wanted,
    dalpha: Want,
    /// Whether the product leaves its sums for a pass, because all operands would be too many.
    apart: bool,
}

impl Fronted<'_> {
    /// The way back; None if there is none. `around` is added to dx; `dz` and `w` load the operands of the product.
    pub(super) fn back(
        &self,
        request: &BackwardRequest,
        around: &[Operand],
        [dz, w]: [&Program; 2],
    ) -> Option<Back<'_>> {
        let (front, wants) = (self.affine.front.as_ref()?, &request.gradients);
        if !wants.need_dx() {
            return None;
        }
        let wanted = Wanted {
            dx: wants.x,
            dscale: wants.scale,
            dshift: wants.shift,
            dalpha: wants.front_alpha.wanted(),
            around: around.first().copied(),
        };
        let together = front::gradient(front, &wanted, Upstream::Sums(&[]));
        // Matrix units leave no registers for it, and two products no sum of one.
        let apart = !self.binds([&together, dz, w]) || self.caps.matrix_size > 0 || self.affine.is_apart();
        Some(Back { of: self, front, wanted, dalpha: wants.front_alpha, apart })
    }
}

impl Back<'_> {
    /// What finishes each element of the product, with what is added to it.
    pub(super) fn finish(&self, around: &[Operand]) -> Program {
        match self.apart {
            true => programs::sum_around(Operand::Dfronted, Want::Overwrite, around),
            false => front::gradient(self.front, &self.wanted, Upstream::Sums(around)),
        }
    }

    /// The only activation of that program.
    pub(super) const fn activation(&self) -> Activation {
        self.front.activation
    }

    /// Adds what follows the product: the sums of its terms, and dx where that waits for them.
    pub(super) fn behind(&self, plan: &mut Plan, of_product: PartialSums) -> Result<()> {
        let Back { of, front, wanted, .. } = self;
        let ColumnPass { m, n, .. } = of.pass();
        let partial = match self.apart {
            true => of.run(plan, &front::gradient(front, wanted, Upstream::Operand), front)?,
            false => of_product,
        };
        let program = front::column_sums(front, wanted);
        if program.finished_sums() > 0 {
            reduce::finished(plan, partial.columns, &program, [1.0 / m as f32, 0.0, 0.0, 0.0], of.last_stage())?;
        }
        let sums = Sums::of_alpha((Operand::DfrontAlpha, self.dalpha), front.alpha, None);
        sums.finish(plan, &PartialSums { columns: partial.columns.behind(&program), ..partial })?;
        let Some(norm) = front.moving().filter(|_| wanted.dx.wanted() && m > 0 && n > 0) else { return Ok(()) };
        if norm.of_rows() {
            let numbers = [1.0 / n as f32, 0.0, 0.0, 0.0];
            reduce::finished(plan, partial.rows, &front::row_sums(&norm), numbers, of.last_stage())?;
        }
        of.run(plan, &front::moved(&norm, wanted), front).map(drop)
    }
}
