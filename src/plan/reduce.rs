//! Column sums in two stages: partials of a block of rows each, then their sum in order. No atomics, and never one
//! invocation for a whole column.

use super::{Along, Builder, Caps, Cut, DeviceClass, Dispatch, Plan, pieces::ELEMENT, product::workgroups};
use crate::{
    error::Result,
    kernel::{Elem, KernelFile, MOST_TRIPS},
    request::{AffineRequest, AlphaSource, Operand, Saved, Want},
};

/// One pass over dy: dz, d(residual), and the first stage of db and dα.
pub(super) struct ColumnPass<'a> {
    /// Activation and α.
    pub(super) request: &'a AffineRequest,
    pub(super) m: u64,
    pub(super) n: u64,
    pub(super) from: Operand,
    pub(super) slope: Saved,
    /// Where dz goes, if it is written.
    pub(super) dz: Option<(Operand, Want)>,
    /// dz and dy are the same memory.
    pub(super) dy_in_place: bool,
    pub(super) dresidual: Want,
    pub(super) db: Want,
    pub(super) dalpha: Want,
}

/// Lanes of a reducing workgroup: LX columns (or groups of four) × LY rows.
fn lanes(caps: &Caps, cols: u64) -> (u32, u32) {
    let all = if caps.class == DeviceClass::Software { 64 } else { 256 };
    let lx = match cols {
        0..=1 => 1,
        2..=4 => 4,
        5..=16 => 16,
        _ => 64,
    };
    (lx, all / lx)
}

/// Terms that a lane adds to a sum.
const LONGEST_RUN: u64 = 1024;

/// Rows of one partial: enough parts to fill the device, no more than a second stage reads quickly.
fn rows_per_part(caps: &Caps, rows: u64, cols: u64, lx: u32, ly: u32) -> u64 {
    let (fill, most) = if caps.class == DeviceClass::Software { (16, 256) } else { (512, 1024) };
    let across = cols.div_ceil(u64::from(lx)).max(1);
    let parts = u64::div_ceil(fill, across).clamp(1, most);
    // Long sums keep their digits when a lane adds no more than so many terms.
    let parts = parts.max(rows.div_ceil(LONGEST_RUN * u64::from(ly)));
    rows.div_ceil(parts).max(u64::from(ly) * 4)
}

/// How a pass over `[rows, cols]` with column sums is divided.
pub(super) struct Columns {
    /// Columns of one invocation: 1, or 4 that are loaded and stored together.
    pub(super) width: u64,
    lx: u32,
    ly: u32,
    chunk: u64,
    /// Blocks of rows: each leaves one partial sum of every column.
    pub(super) parts: u64,
    across: u64,
}

impl Columns {
    pub(super) fn new(rows: u64, cols: u64, aligned: bool, caps: &Caps) -> Self {
        let width = if aligned && cols.is_multiple_of(4) { 4 } else { 1 };
        let (lx, ly) = lanes(caps, cols / width);
        let bindable = (caps.max_binding / 4 / cols.max(1)).max(1);
        let chunk = rows_per_part(caps, rows, cols / width, lx, ly).min(bindable);
        Columns { width, lx, ly, chunk, parts: rows.div_ceil(chunk), across: (cols / width).div_ceil(u64::from(lx)) }
    }

    pub(super) const fn elem(&self) -> Elem {
        if self.width == 4 { Elem::Four } else { Elem::Scalar }
    }

    /// The flags and parameters that say so.
    pub(super) fn apply(&self, k: &mut Builder, rows: u64, cols: u64) -> Result<()> {
        k.flag("LX", self.lx).flag("LY", self.ly).on("WIDE", self.width == 4);
        k.params.rows = rows as u32;
        k.params.cols = cols as u32;
        k.params.channels = cols as u32;
        k.params.chunk = self.chunk as u32;
        k.params.plane = self.parts as u32;
        k.params.tiles_cols = self.across as u32;
        k.params.tiles = workgroups(self.parts * self.across)?;
        let cols = u64::from(self.lx) * self.width;
        k.cut = Cut { rows: self.chunk, cols, work: self.chunk * cols * ELEMENT, splits: false };
        Ok(())
    }
}

/// The pass, and the second stages it needs.
pub(super) fn column_pass(plan: &mut Plan, pass: &ColumnPass<'_>, aligned: bool, caps: &Caps) -> Result<()> {
    let ColumnPass { request, m, n, .. } = *pass;
    let sums = pass.db.wanted() || pass.dalpha.wanted();
    if !(sums || pass.dz.is_some() || pass.dresidual.wanted()) {
        return Ok(());
    }
    let mut parts = 0;
    if m > 0 && n > 0 {
        let columns = Columns::new(m, n, aligned, caps);
        let elem = columns.elem();
        parts = columns.parts;
        let mut k = Builder::storing(KernelFile::LocalGradient, request.storage, caps);
        columns.apply(&mut k, m, n)?;
        k.on("SUMS", sums);
        k.on("SUM_DB", pass.db.wanted()).on("SUM_DALPHA", pass.dalpha.wanted());
        k.on("OUT_DZ", pass.dz.is_some()).on("OUT_RESIDUAL", pass.dresidual.wanted());
        k.read_within("dy", elem, Operand::Dy, m * n, pass.dy_in_place.then_some("dz"));
        k.along(Along::Rows(n));
        if pass.dz.is_some() || sums {
            let needs_dz = pass.dz.is_some() || pass.db.wanted();
            k.on("NEED_DZ", needs_dz);
            k.activation(&request.activation).alpha(request.alpha, Operand::Alpha, n);
            k.slope(pass.slope, elem, pass.from, [m, n], Along::Rows);
        }
        if let Some((operand, want)) = pass.dz {
            k.write("dz", elem, operand, m * n).along(Along::Rows(n));
            k.params.accumulate |= u32::from(want == Want::Accumulate);
        }
        if pass.dresidual.wanted() {
            k.write("dresidual", elem, Operand::Dresidual, m * n).along(Along::Rows(n));
            k.params.accumulate |= u32::from(pass.dresidual == Want::Accumulate) << 1;
        }
        if sums {
            k.write("partials", elem, Operand::Partials, 2 * parts * n);
        }
        plan.dispatches.push(k.build());
    }
    let db = pass.db.wanted().then_some((Operand::Db, pass.db));
    let dalpha = pass.dalpha.wanted().then_some((Operand::Dalpha, pass.dalpha));
    second_stage(plan, 0, parts, n, db, dalpha, request.alpha)
}

/// The later stages: of the partials from `first` on the first half is db's, the second dα's.
pub(super) fn second_stage(
    plan: &mut Plan,
    first: u64,
    parts: u64,
    n: u64,
    db: Option<(Operand, Want)>,
    dalpha: Option<(Operand, Want)>,
    alpha: AlphaSource,
) -> Result<()> {
    if let Some((operand, want)) = db.filter(|_| n > 0) {
        column_sum(plan, first, parts, n, operand, want)?;
    }
    if let Some((operand, want)) = dalpha {
        let first = first + parts * n;
        match alpha {
            AlphaSource::PerChannel if n == 0 => {}
            AlphaSource::PerChannel => column_sum(plan, first, parts, n, operand, want)?,
            // One number for the layer: the partials are one long column.
            _ => column_sum(plan, first, parts * n, 1, operand, want)?,
        }
    }
    Ok(())
}

/// out[c] (+)= Σ_rows partials[first + row·cols + c], in as many stages as it takes.
pub(super) fn column_sum(
    plan: &mut Plan,
    first: u64,
    rows: u64,
    cols: u64,
    operand: Operand,
    want: Want,
) -> Result<()> {
    let (_, ly) = column_lanes(cols);
    let (first, rows) = folded(plan, first, rows, cols, LONGEST_RUN * u64::from(ly))?;
    let stage = column_stage(first, [rows, cols], rows, (operand, 0), want)?;
    plan.dispatches.push(stage);
    Ok(())
}

/// Brings the rows of a matrix of partials down to at most so many: where the matrix then begins, and its rows.
pub(super) fn folded(plan: &mut Plan, first: u64, rows: u64, cols: u64, most: u64) -> Result<(u64, u64)> {
    let (mut first, mut rows) = (first, rows);
    let (_, ly) = column_lanes(cols);
    let chunk = LONGEST_RUN * u64::from(ly);
    while rows > most {
        let to = free(plan);
        let stage = column_stage(first, [rows, cols], chunk, (Operand::Partials, to), Want::Overwrite)?;
        plan.dispatches.push(stage);
        (first, rows) = (to, rows.div_ceil(chunk));
    }
    Ok((first, rows))
}

/// The first partial that nothing in the plan touches; no binding of what lies before it reaches so far.
pub(super) fn free(plan: &Plan) -> u64 {
    plan.scratch(Operand::Partials).next_multiple_of(64)
}

const fn column_lanes(cols: u64) -> (u32, u32) {
    if cols == 1 { (1, 64) } else { (16, 4) }
}

/// One invocation that adds [`MOST_TRIPS`] numbers (operand x) to one (operand y): the longest loop that any plan has, for a
/// driver's self-test.
pub(crate) fn longest_loop() -> Plan {
    let mut k = Builder::new(KernelFile::ColumnSum);
    k.flag("LX", 1).flag("LY", 1);
    k.read("partials", Elem::Scalar, Operand::X, MOST_TRIPS);
    k.write("out", Elem::Scalar, Operand::Y, 1);
    k.params.rows = MOST_TRIPS as u32;
    k.params.cols = 1;
    k.params.chunk = MOST_TRIPS as u32;
    k.params.tiles = 1;
    Plan { dispatches: vec![k.build()], ..Plan::default() }
}

/// out[part, c] (+)= the sum over a block of `chunk` rows of partials[first + row·cols + c].
fn column_stage(
    first: u64,
    [rows, cols]: [u64; 2],
    chunk: u64,
    (operand, to): (Operand, u64),
    want: Want,
) -> Result<Dispatch> {
    let (lx, ly) = column_lanes(cols);
    let (parts, across) = (rows.div_ceil(chunk.max(1)).max(1), cols.div_ceil(u64::from(lx)));
    let mut k = Builder::new(KernelFile::ColumnSum);
    k.flag("LX", lx).flag("LY", ly);
    k.read("partials", Elem::Scalar, Operand::Partials, rows * cols).from(first);
    k.write("out", Elem::Scalar, operand, parts * cols).from(to);
    k.params.rows = rows as u32;
    k.params.cols = cols as u32;
    k.params.chunk = chunk as u32;
    k.params.tiles_cols = across as u32;
    k.params.tiles = workgroups(parts * across)?;
    k.params.accumulate = u32::from(want == Want::Accumulate);
    Ok(k.build())
}
