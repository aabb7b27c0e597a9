//! Layers with jets: passes over groups of rows, of which the first holds values and the others derivatives ([`elbow::Jet`] has the
//! formulas). A group goes through in pieces of so many columns that all of its arrays stay in the first-level cache.

use std::ops::Range;

use elbow::{
    Jet,
    activation::Quantity,
    error::{Error, Result},
    request::{BackwardRequest, ResidualAt, Saved},
};

use crate::{
    pass::{Channels, Finish},
    saved::SavedOut,
    vectors::{add, add_to_sums, multiply, multiply_passed},
};

/// An error if jets would have to go back from y or a mask.
pub(crate) fn enough(jet: Option<Jet>, saved: Saved) -> Result<()> {
    match (jet, saved) {
        (Some(_), Saved::Y | Saved::Mask) => Err(Error::Unsupported {
            what: format!("backward of jets from saved {saved}"),
            why: "second and third derivatives need z".into(),
        }),
        _ => Ok(()),
    }
}

/// An error if the layers of a chain have groups of different sizes.
pub(crate) fn check_chain(request: &BackwardRequest) -> Result<()> {
    let groups = |jet: Option<Jet>| jet.map_or(1, |jet| jet.members());
    let of_layer = groups(request.affine.jet);
    let of_below = request.below.map_or(of_layer, |below| groups(below.jet));
    if of_layer == of_below {
        return Ok(());
    }
    Err(Error::Unsupported {
        what: format!("a chain of layers with groups of {of_layer} and of {of_below} rows"),
        why: "every row of dx is a row of the layer below".into(),
    })
}

/// Columns of a piece.
const PIECE: usize = 256;
/// The most rows of a group.
const MEMBERS: usize = 8;

type Rows = [[f32; PIECE]; MEMBERS];

/// The pieces of every group in a block of so many elements: each row's place.
fn pieces(jet: &Jet, elements: usize, n: usize) -> impl Iterator<Item = (usize, [Range<usize>; MEMBERS])> + use<> {
    let members = jet.members();
    (0..elements).step_by((members * n).max(1)).flat_map(move |first| {
        (0..n).step_by(PIECE).map(move |column| {
            let columns = PIECE.min(n - column);
            let row = |row: usize| {
                let start = first + row.min(members - 1) * n + column;
                start..start + columns
            };
            (column, std::array::from_fn(row))
        })
    })
}

/// out = Σᵢⱼ cᵢⱼ zᵢ zⱼ, each pair once.
fn form(jet: &Jet, z: &Rows, out: &mut [f32]) {
    let columns = out.len();
    let mut product = [0.0; PIECE];
    out.fill(0.0);
    for i in 0..jet.tangents() {
        for j in i..jet.tangents() {
            let factor = if i == j { 1.0 } else { 2.0 } * jet.coefficient(i, j);
            if factor != 0.0 {
                multiply(&z[1 + i][..columns], &z[1 + j][..columns], &mut product[..columns]);
                add_scaled(out, factor, &product[..columns]);
            }
        }
    }
}

/// out += factor · v
fn add_scaled(out: &mut [f32], factor: f32, v: &[f32]) {
    pulp::Arch::new().dispatch(|| {
        for (out, v) in out.iter_mut().zip(v) {
            *out += factor * v;
        }
    });
}

/// Replaces the sums x·Wᵀ of whole groups by y. The block starts at `row` of the matrix.
pub(crate) fn finish(jet: &Jet, finish: &Finish<'_>, row: usize, y: &mut [f32], saved: &mut SavedOut<'_>) {
    let n = finish.channels.n();
    let stops = finish.channels.stops();
    let mut z: Rows = [[0.0; PIECE]; MEMBERS];
    let [mut slope, mut second, mut bent, mut operator] = [[0.0; PIECE]; 4];
    for (column, places) in pieces(jet, y.len(), n) {
        let columns = places[0].len();
        let residual = |place: &Range<usize>| finish.residual.map(|residual| &residual[row * n..][place.clone()]);
        for (member, place) in places[..jet.members()].iter().enumerate() {
            let z = &mut z[member][..columns];
            z.copy_from_slice(&y[place.clone()]);
            if let (0, Some(bias)) = (member, finish.bias) {
                add(z, &bias[column..column + columns]);
            }
            if let (ResidualAt::BeforeActivation, Some(residual)) = (finish.residual_at, residual(place)) {
                add(z, residual);
            }
            if let SavedOut::Z(kept) = saved {
                kept[place.clone()].copy_from_slice(z);
            }
        }
        let value = &z[0][..columns];
        let slope = &mut slope[..columns];
        finish.channels.evaluate_from(Quantity::Value, column, value, &mut y[places[0].clone()]);
        finish.channels.evaluate_from(Quantity::Slope, column, value, slope);
        for (z, place) in z[1..jet.members()].iter().zip(&places[1..]) {
            multiply_passed(stops, &z[..columns], slope, &mut y[place.clone()]);
        }
        if !jet.is_first_order() {
            let (second, bent, operator) = (&mut second[..columns], &mut bent[..columns], &mut operator[..columns]);
            finish.channels.evaluate_from(Quantity::SecondDerivative, column, value, second);
            form(jet, &z, operator);
            multiply_passed(stops, operator, second, bent);
            add(&mut y[places[jet.members() - 1].clone()], bent);
        }
        if finish.residual_at == ResidualAt::AfterActivation {
            for place in &places[..jet.members()] {
                if let Some(residual) = residual(place) {
                    add(&mut y[place.clone()], residual);
                }
            }
        }
    }
}

/// Where the z of a group comes from.
pub(crate) enum Source<'a> {
    /// The slope is 1: dz is dy.
    Unit,
    /// It was kept; the slice is that of the block.
    Kept(&'a [f32]),
    /// dz holds x·Wᵀ, to which bias and residual (that of the block) are added.
    Product(Option<&'a [f32]>, Option<&'a [f32]>),
}

/// dz of whole groups with the sums of db and dα, empty if they are not wanted. `dy` is that of the block; None if dz holds it.
pub(crate) fn descend(
    jet: &Jet,
    channels: &Channels<'_>,
    source: &Source<'_>,
    dy: Option<&[f32]>,
    dz: &mut [f32],
    (db, dalpha): (&mut [f64], &mut [f64]),
) {
    let n = channels.n();
    let stops = channels.stops();
    let last = jet.members() - 1;
    let (mut z, mut upstream): (Rows, Rows) = ([[0.0; PIECE]; MEMBERS], [[0.0; PIECE]; MEMBERS]);
    let [mut first, mut of_form, mut derivative, mut product, mut turned] = [[0.0; PIECE]; 5];
    for (column, places) in pieces(jet, dz.len(), n) {
        let columns = places[0].len();
        let all = || places[..=last].iter().enumerate();
        for (member, place) in all() {
            if let Source::Kept(kept) = source {
                z[member][..columns].copy_from_slice(&kept[place.clone()]);
            } else if let Source::Product(bias, residual) = source {
                let z = &mut z[member][..columns];
                z.copy_from_slice(&dz[place.clone()]);
                if let (0, Some(bias)) = (member, bias) {
                    add(z, &bias[column..column + columns]);
                }
                if let Some(residual) = residual {
                    add(z, &residual[place.clone()]);
                }
            }
            let from = dy.unwrap_or(&*dz);
            upstream[member][..columns].copy_from_slice(&from[place.clone()]);
        }
        if let Source::Unit = source {
            for (member, place) in all() {
                dz[place.clone()].copy_from_slice(&upstream[member][..columns]);
            }
        } else {
            let dy = |member: usize| &upstream[member][..columns];
            let (derivative, product) = (&mut derivative[..columns], &mut product[..columns]);
            let (first, of_form, turned) = (&mut first[..columns], &mut of_form[..columns], &mut turned[..columns]);
            // Σ zᵣ dyᵣ over the other rows, and the operator's form times its dy.
            first.fill(0.0);
            for (z, dy) in z.iter().zip(&upstream).take(last + 1).skip(1) {
                multiply(&z[..columns], &dy[..columns], product);
                add(first, product);
            }
            form(jet, &z, product);
            multiply(product, dy(last), of_form);
            let value = &z[0][..columns];
            channels.evaluate_from(Quantity::Slope, column, value, derivative);
            for (member, place) in all() {
                multiply_passed(stops, dy(member), derivative, &mut dz[place.clone()]);
            }
            channels.evaluate_from(Quantity::SecondDerivative, column, value, derivative);
            multiply_passed(stops, first, derivative, product);
            add(&mut dz[places[0].clone()], product);
            multiply_passed(stops, dy(last), derivative, product);
            for i in 0..jet.tangents() {
                turned.fill(0.0);
                for j in (0..jet.tangents()).filter(|&j| jet.coefficient(i, j) != 0.0) {
                    add_scaled(turned, 2.0 * jet.coefficient(i, j), &z[1 + j][..columns]);
                }
                add_both(&mut dz[places[1 + i].clone()], turned, product);
            }
            if !jet.is_first_order() {
                channels.evaluate_from(Quantity::ThirdDerivative, column, value, derivative);
                multiply_passed(stops, of_form, derivative, product);
                add(&mut dz[places[0].clone()], product);
            }
            if !dalpha.is_empty() {
                let terms: [(&[f32], Quantity); 3] = [
                    (dy(0), Quantity::AlphaSlope),
                    (first, Quantity::MixedDerivative),
                    (of_form, Quantity::MixedThirdDerivative),
                ];
                let used = if jet.is_first_order() { 2 } else { 3 };
                for (upstream, quantity) in &terms[..used] {
                    channels.evaluate_from(*quantity, column, value, derivative);
                    multiply_passed(stops, upstream, derivative, product);
                    match &mut *dalpha {
                        [sum] => *sum += product.iter().map(|&term| f64::from(term)).sum::<f64>(),
                        sums => add_to_sums(&mut sums[column..column + columns], product),
                    }
                }
            }
        }
        if !db.is_empty() {
            add_to_sums(&mut db[column..column + columns], &dz[places[0].clone()]);
        }
    }
}

/// out += a ⊙ b
fn add_both(out: &mut [f32], a: &[f32], b: &[f32]) {
    pulp::Arch::new().dispatch(|| {
        for ((out, a), b) in out.iter_mut().zip(a).zip(b) {
            *out += a * b;
        }
    });
}
