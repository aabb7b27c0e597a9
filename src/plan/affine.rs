//! The fused layer: forward in one dispatch, backward by one of two strategies.

use super::{
    Caps, DeviceClass, Pin, Plan,
    builder::PartialSums,
    front::Fronted,
    gated,
    joined::Products,
    product::{Finish, Matrix, Product, forward_product, stages},
    programs::{self, Gradient, Local},
    reduce::{self, ColumnPass, Fold, Sums},
    split::product,
};
use crate::{
    error::Result,
    operand::Operand,
    program::By,
    request::{AffineRequest, BackwardRequest, Below, ResidualAt, Saved, Strategy, Want, WeightLayout},
    rules::Resolved,
};

/// [`super::forward`], before long dispatches are cut into pieces.
pub(super) fn forward(
    request: &Resolved<AffineRequest>,
    aligned: bool,
    residual_in_place: bool,
    caps: &Caps,
    pin: &Pin,
) -> Result<Plan> {
    let mut plan = Plan { saved: request.saved, ..Plan::default() };
    let in_place = residual_in_place.then_some((Operand::Y, Operand::Residual));
    let fronted = Fronted { affine: request, aligned, caps, pin };
    if let Some(front) = &request.front {
        fronted.moments(&mut plan, front)?;
    }
    if let Some(gate) = &request.gate {
        gated::forward(&mut plan, request, gate, in_place, aligned, caps, pin)?;
        return Ok(plan);
    }
    let (m, n) = (request.m as u64, request.n as u64);
    let PartialSums { columns, rows: of_rows } = match m == 0 || n == 0 {
        true => PartialSums::empty(m, n),
        false => {
            let program = programs::forward(request);
            let x = fronted.entering(&mut plan, &program, &programs::plain(Operand::W))?;
            product(&mut plan, &forward_product(request, x, program, in_place), aligned, caps, pin)?
        }
    };
    let statistics = &request.statistics;
    if statistics.of_channels() {
        reduce::statistics(&mut plan, columns, m, &programs::statistics(statistics))?;
    }
    if statistics.rows {
        reduce::statistics(&mut plan, of_rows, n, &programs::of_rows())?;
    }
    Ok(plan)
}

/// [`super::backward`], before long dispatches are cut into pieces.
pub(super) fn backward(request: &Resolved<BackwardRequest>, aligned: bool, caps: &Caps, pin: &Pin) -> Result<Plan> {
    let wants = &request.gradients;
    let affine = &request.affine;
    let (m, n, k) = (affine.m as u64, affine.n as u64, affine.k as u64);
    let linear = affine.is_linear();
    let mut plan = Plan { saved: affine.saved, ..Plan::default() };

    let local = kept(&mut plan, affine, request.reads_kept(), aligned, caps, pin)?;

    let before = affine.residual == Some(ResidualAt::BeforeActivation);
    let products =
        [wants.w, wants.w_up].iter().filter(|want| want.wanted()).count() as u32 + u32::from(wants.need_dx());
    plan.strategy = match (pin.strategy, request.below) {
        // A chain's epilogue and a prologue together would need more bindings than some devices have; and a row of jets takes its dz from
        // all rows of its group.
        (_, Some(_)) => Strategy::TwoPass,
        _ if affine.jet.is_some() || affine.gate.is_some() => Strategy::TwoPass,
        // What the front needs and what dz needs would be too much for one load.
        _ if affine.front.is_some() => Strategy::TwoPass,
        // What goes around the layer is dz, from memory.
        _ if request.skip && before => Strategy::TwoPass,
        (Strategy::Auto, None) => choose_strategy(caps, affine, products),
        (strategy, None) => strategy,
    };
    let write_dz = !linear && products > 0 && plan.strategy == Strategy::TwoPass;

    let gradient = Gradient {
        dresidual: wants.residual,
        residual_before: before,
        db: wants.b.wanted(),
        db_up: if affine.is_apart() { wants.b_up } else { wants.b }.wanted(),
        dalpha: wants.alpha.wanted(),
        drow_weight: wants.row_weight.wanted(),
        ..Gradient::of(local, write_dz.then_some((Operand::Dz, Want::Overwrite)))
    };
    let sums = Sums {
        db: (Operand::Db, wants.b),
        of_gate: affine.gate.map(|gate| (gate, wants.b_up)),
        dalpha: (Operand::Dalpha, wants.alpha),
        alpha: affine.alpha,
        row_channels: None,
        drow_weight: (Operand::DrowWeight, wants.row_weight),
    };
    let in_place = request.in_place.then_some((Operand::Dresidual, Operand::Dy));
    let pass = ColumnPass { m, n, row_numbers: m, storage: affine.storage, in_place, fold: Fold::Sum };
    reduce::gradient_pass(&mut plan, &pass, &gradient, &sums, aligned, caps)?;
    // The products are those of all outputs, or two of each kind.
    let n = affine.outputs_of_w() as u64;
    let apart = |pair| affine.is_apart().then_some(pair);

    let dz = match (linear, write_dz) {
        (true, _) => programs::plain(Operand::Dy),
        (false, true) => programs::plain(Operand::Dz),
        (false, false) => programs::dz(local),
    };
    let around: &[Operand] = match (request.skip, before && write_dz) {
        (false, _) => &[],
        (true, true) => &[Operand::Dz],
        (true, false) => &[Operand::Dy],
    };
    let mut below_sums = PartialSums::empty(m, k);
    let fronted = Fronted { affine, aligned, caps, pin };
    let w = programs::plain(Operand::W);
    let back = fronted.back(request, around, [&dz, &w]);
    if wants.need_dx() && m > 0 && k > 0 {
        let activation = match (&request.below, &back) {
            (Some(below), _) => below.activation,
            (None, Some(back)) => back.activation(),
            (None, None) => affine.activation,
        };
        let finish = |half: Option<Operand>| {
            let around = [half.as_slice(), around].concat();
            match (&request.below, &back) {
                (Some(below), _) => chain(below).program(programs::Upstream::Sums(&around)),
                (None, Some(back)) => back.finish(half.as_slice()),
                (None, None) => programs::sum_around(Operand::Dx, wants.x, &around),
            }
        };
        let along = [true, affine.layout == WeightLayout::InOut];
        below_sums = if let Some(of_up) = apart([Operand::DzUp, Operand::WUp]) {
            let products = Products { storage: affine.storage, activation, aligned, caps, pin };
            let pairs = [Some([Operand::Dz, Operand::W]), Some(of_up)];
            products.add(&mut plan, [m, k, n], along, pairs, &finish)?
        } else {
            let [a, b] = [dz.clone(), w];
            let [a, b] = [(a, along[0]), (b, along[1])].map(|(program, along)| Matrix { along, program });
            let stages = vec![activation];
            let finish = Finish { program: finish(None), stages, storage: affine.storage, in_place: None };
            product(&mut plan, &Product { rows: m, cols: k, k: n, a, b, finish, pair: None }, aligned, caps, pin)?
        };
    }
    if let Some(back) = back {
        back.behind(&mut plan, below_sums)?;
    }
    if let Some(below) = &request.below {
        let sums = Sums {
            db: (Operand::DbBelow, below.db),
            of_gate: None,
            dalpha: (Operand::DalphaBelow, below.dalpha),
            alpha: below.alpha,
            row_channels: None,
            drow_weight: (Operand::DrowWeightBelow, below.drow_weight),
        };
        sums.finish(&mut plan, &below_sums)?;
    }
    let any = (wants.w.wanted() || wants.w_up.wanted()) && n > 0 && k > 0;
    let x = any.then(|| fronted.entering(&mut plan, &programs::sum(Operand::Dw, Want::Overwrite), &dz)).transpose()?;
    let of_w = [(dz, Operand::Dw, wants.w), (programs::plain(Operand::DzUp), Operand::DwUp, wants.w_up)];
    for (dz, operand, want) in of_w.into_iter().filter(|(.., want)| want.wanted()) {
        let Some(x) = x.clone() else { continue };
        let x = Matrix { along: false, program: x };
        let dz = Matrix { along: false, program: dz };
        let (rows, cols, a, b) = match affine.layout {
            WeightLayout::OutIn => (n, k, dz, x),
            WeightLayout::InOut => (k, n, x, dz),
        };
        let program = programs::sum(operand, want);
        let finish = Finish { program, stages: stages(affine), storage: affine.storage, in_place: None };
        product(&mut plan, &Product { rows, cols, k: m, a, b, finish, pair: None }, aligned, caps, pin)?;
    }
    Ok(plan)
}

/// The layer's activation with what forward kept; z is computed again if nothing was kept but it is read.
pub(super) fn kept(
    plan: &mut Plan,
    affine: &AffineRequest,
    read: bool,
    aligned: bool,
    caps: &Caps,
    pin: &Pin,
) -> Result<Local> {
    let (from, slope) = match affine.saved {
        _ if !read => (Operand::Saved, Saved::None),
        Saved::None => {
            let fronted = Fronted { affine, aligned, caps, pin };
            if let (Some(gate), true) = (affine.gate.filter(|_| affine.is_apart()), affine.m > 0 && affine.n > 0) {
                gated::again(plan, &fronted, &gate)?;
            } else if affine.m > 0 && affine.n > 0 {
                let program = programs::forward_z(affine);
                let x = fronted.entering(plan, &program, &programs::plain(Operand::W))?;
                product(plan, &forward_product(affine, x, program, None), aligned, caps, pin)?;
            }
            (Operand::Z, Saved::Z)
        }
        saved => (Operand::Saved, saved),
    };
    Ok(Local::of(affine, slope, from))
}

/// The strategy of backward: prologue if computing the slope several times is cheap, with a piecewise activation and few tiles that read dy
/// again. Not on software adapters, where loading each element twice costs more than a pass that writes dz.
fn choose_strategy(caps: &Caps, affine: &AffineRequest, products: u32) -> Strategy {
    let narrow = affine.k <= 64 || products == 1;
    let cheap = affine.activation.is_piecewise() && affine.dropout.is_none();
    let cheap = caps.class != DeviceClass::Software && cheap && narrow;
    if products == 0 || cheap { Strategy::Prologue } else { Strategy::TwoPass }
}

/// The epilogue of dx in a chain, where dx is dy of the layer below.
fn chain(below: &Below) -> Gradient {
    let Below { activation, alpha, jet, db, dalpha, drow_weight, dropout, .. } = *below;
    let local = Local {
        channel: By::Column,
        activation,
        alpha,
        alpha_operand: Operand::AlphaBelow,
        saved: below.saved,
        from: Operand::SavedBelow,
        row_weight: below.row_weight.then_some(Operand::RowWeightBelow),
        dropout: dropout.map(|dropout| (Operand::DropoutStateBelow, dropout)),
        jet,
        gate: None,
    };
    let dz = Some((Operand::Dx, Want::Overwrite));
    Gradient { db: db.wanted(), dalpha: dalpha.wanted(), drow_weight: drow_weight.wanted(), ..Gradient::of(local, dz) }
}
