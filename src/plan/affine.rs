//! The fused layer: forward in one dispatch, backward by one of two roads.

use super::{
    Caps, DeviceClass, Pin, Plan,
    product::{Epilogue, Local, Matrix, Product, Source, product},
    reduce::{self, ColumnPass},
};
use crate::{
    activation::Activation,
    dtype::Storage,
    error::{Error, Result},
    request::{AffineRequest, AlphaSource, BackwardRequest, Below, Operand, Road, Saved, Want, WeightLayout},
};

/// [`super::forward`], before it is cut.
pub(super) fn forward(
    request: &AffineRequest,
    aligned: bool,
    residual_in_place: bool,
    caps: &Caps,
    pin: &Pin,
) -> Result<Plan> {
    request.check_sizes()?;
    let saved = request.resolve_saved(false)?;
    let mut plan = Plan { saved, ..Plan::default() };
    if request.m == 0 || request.n == 0 {
        return Ok(plan);
    }
    let epilogue = Epilogue::Forward { request, save: saved, residual_in_place, only_z: false };
    product(&mut plan, &forward_product(request), &epilogue, aligned, caps, pin)?;
    Ok(plan)
}

fn forward_product(request: &AffineRequest) -> Product<'static> {
    let (m, n, k) = (request.m as u64, request.n as u64, request.k as u64);
    Product {
        rows: m,
        cols: n,
        red: k,
        a: Matrix { along: true, source: Source::Plain(Operand::X) },
        b: Matrix { along: request.layout == WeightLayout::OutIn, source: Source::Plain(Operand::W) },
    }
}

/// [`super::backward`], before it is cut.
pub(super) fn backward(request: &BackwardRequest, aligned: bool, caps: &Caps, pin: &Pin) -> Result<Plan> {
    let wants = &request.gradients;
    request.affine.check_sizes()?;
    check_wants(request)?;
    // With dz given the layer is as good as linear: its own activation has been applied.
    let affine = &match request.upstream_is_dz {
        true => AffineRequest {
            activation: Activation::IDENTITY,
            alpha: AlphaSource::Constant,
            saved: Saved::None,
            ..request.affine
        },
        false => request.affine,
    };
    let (m, n, k) = (affine.m as u64, affine.n as u64, affine.k as u64);
    let linear = affine.activation.needs_nothing();
    let saved = if linear { Saved::None } else { affine.resolve_saved(wants.alpha.wanted())? };
    let mut plan = Plan { saved, ..Plan::default() };

    let needs_slope = !linear && (wants.x.wanted() || wants.w.wanted() || wants.b.wanted() || wants.alpha.wanted());
    let (from, slope) = match saved {
        _ if linear => (Operand::Saved, Saved::None),
        Saved::None if needs_slope => {
            if m > 0 && n > 0 {
                let epilogue =
                    Epilogue::Forward { request: affine, save: Saved::Z, residual_in_place: false, only_z: true };
                product(&mut plan, &forward_product(affine), &epilogue, aligned, caps, pin)?;
            }
            (Operand::Z, Saved::Z)
        }
        saved => (Operand::Saved, saved),
    };
    let local = Local { request: affine, from, slope };

    let products = u32::from(wants.x.wanted()) + u32::from(wants.w.wanted());
    plan.road = match (if pin.road == Road::Auto { request.road } else { pin.road }, request.below) {
        // A chain's epilogue and a prologue would need more bindings than every device has.
        (_, Some(_)) => Road::TwoPass,
        (Road::Auto, None) => choose_road(caps, affine, products),
        (road, None) => road,
    };
    let write_dz = !linear && products > 0 && plan.road == Road::TwoPass;

    let pass = ColumnPass {
        request: affine,
        m,
        n,
        from,
        slope,
        dz: write_dz.then_some((Operand::Dz, Want::Overwrite)),
        dy_in_place: false,
        dresidual: wants.residual,
        db: wants.b,
        dalpha: wants.alpha,
    };
    reduce::column_pass(&mut plan, &pass, aligned, caps)?;

    let dz = match (linear, write_dz) {
        (true, _) => Source::Plain(Operand::Dy),
        (false, true) => Source::Plain(Operand::Dz),
        (false, false) => Source::Prologue(local),
    };
    if wants.x.wanted() && m > 0 && k > 0 {
        let dx = Product {
            rows: m,
            cols: k,
            red: n,
            a: Matrix { along: true, source: dz },
            b: Matrix { along: affine.layout == WeightLayout::InOut, source: Source::Plain(Operand::W) },
        };
        let epilogue = match &request.below {
            Some(below) => Epilogue::Chain { below, channels: k, storage: affine.storage },
            None => Epilogue::Store { operand: Operand::Dx, want: wants.x, storage: affine.storage },
        };
        product(&mut plan, &dx, &epilogue, aligned, caps, pin)?;
    }
    if let Some(below) = &request.below {
        chain_sums(&mut plan, below, m, k, wants.x.wanted())?;
    }
    if wants.w.wanted() && n > 0 && k > 0 {
        let x = Matrix { along: false, source: Source::Plain(Operand::X) };
        let dz = Matrix { along: false, source: dz };
        let (rows, cols, a, b) = match affine.layout {
            WeightLayout::OutIn => (n, k, dz, x),
            WeightLayout::InOut => (k, n, x, dz),
        };
        let dw = Product { rows, cols, red: m, a, b };
        let epilogue = Epilogue::Store { operand: Operand::Dw, want: wants.w, storage: affine.storage };
        product(&mut plan, &dw, &epilogue, aligned, caps, pin)?;
    }
    Ok(plan)
}

/// Prologue where computing the slope again costs next to nothing: a cheap activation, and few tiles that read dy again.
/// Not on software adapters, where the second load of each element costs more than a pass that writes dz.
fn choose_road(caps: &Caps, affine: &AffineRequest, products: u32) -> Road {
    let narrow = affine.k <= 64 || products == 1;
    let cheap = caps.class != DeviceClass::Software && affine.activation.is_piecewise() && narrow;
    if products == 0 || cheap { Road::Prologue } else { Road::TwoPass }
}

fn check_wants(request: &BackwardRequest) -> Result<()> {
    let affine = &request.affine;
    let wants = &request.gradients;
    let needless = |operand: Operand, of: Operand| {
        Err(Error::Operand {
            operand,
            expected: format!("no gradient: the layer has no {of}"),
            got: format!("{operand} wanted"),
        })
    };
    if wants.alpha.wanted() && affine.alpha == AlphaSource::Constant {
        return needless(Operand::Dalpha, Operand::Alpha);
    }
    if request.upstream_is_dz && wants.alpha.wanted() {
        return Err(Error::Unsupported {
            what: "dalpha from an upstream gradient that is dz already".into(),
            why: "dz holds dy times the slope; the call that wrote dz reduces dalpha".into(),
        });
    }
    if request.upstream_is_dz && wants.residual.wanted() {
        return Err(Error::Unsupported {
            what: "dresidual from an upstream gradient that is dz already".into(),
            why: "the gradient of the residual is dy, not dz".into(),
        });
    }
    let Some(below) = &request.below else { return Ok(()) };
    if wants.x != Want::Overwrite {
        return Err(Error::Unsupported {
            what: "a chain without dx, or one that accumulates into it".into(),
            why: "the dx operand receives dz of the layer below and is overwritten: ask for x: Want::Overwrite".into(),
        });
    }
    if below.dalpha.wanted() && below.alpha == AlphaSource::Constant {
        return needless(Operand::DalphaBelow, Operand::AlphaBelow);
    }
    let layer_below = below.layer(affine.m, affine.k, &affine.storage);
    layer_below.check_sizes()?;
    let saved = layer_below.resolve_saved(below.dalpha.wanted())?;
    if saved == Saved::None && !below.activation.needs_nothing() {
        return Err(Error::Unsupported {
            what: "a chain over a layer that saved nothing".into(),
            why: "this call has no x, w and b of the layer below to compute its z again: save z, y or the mask".into(),
        });
    }
    Ok(())
}

/// What forward of the layer below is taken to have saved.
pub(super) fn below_saved(below: &Below, m: u64, k: u64, storage: &Storage) -> Saved {
    below.layer(m as usize, k as usize, storage).resolve_saved(below.dalpha.wanted()).unwrap_or(Saved::Z)
}

/// The later stages of the chain's sums; with no product (an empty layer) the sums are those of no rows.
fn chain_sums(plan: &mut Plan, below: &Below, m: u64, k: u64, has_product: bool) -> Result<()> {
    let (mut first, mut parts) = (0, 0);
    if let Some(d) = plan.dispatches.last().filter(|_| has_product && m > 0 && k > 0) {
        parts = u64::from(d.params.plane / d.params.tiles_cols);
        let written = d.kernel.slots.iter().zip(&d.uses).find(|(slot, _)| slot.role == "partials");
        first = written.map_or(0, |(_, part)| part.origin);
    }
    let db = below.db.wanted().then_some((Operand::DbBelow, below.db));
    let dalpha = below.dalpha.wanted().then_some((Operand::DalphaBelow, below.dalpha));
    reduce::second_stage(plan, first, parts, k, db, dalpha, below.alpha)
}
