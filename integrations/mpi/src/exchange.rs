//! What processes exchange, and how much of a whole each of them has.

use std::ops::Range;

use elbow::{Error, Operand, Result, request::AffineRequest};
use mpi::{collective::SystemOperation, datatype::PartitionMut, traits::*};

/// The part of `total` that one of `processes` has: as equal as whole numbers are, the first ones one longer.
///
/// ```
/// let parts: Vec<_> = (0..3).map(|rank| elbow_mpi::share(8, 3, rank)).collect();
/// assert_eq!(parts, [0..3, 3..6, 6..8]);
/// ```
pub fn share(total: usize, processes: usize, rank: usize) -> Range<usize> {
    let processes = processes.max(1);
    let (each, longer) = (total / processes, total % processes);
    let start = |rank: usize| rank * each + rank.min(longer);
    start(rank)..start(rank + 1)
}

/// Number of processes, and the number of this one.
pub(crate) fn place<C: Communicator>(world: &C) -> (usize, usize) {
    // Neither is negative.
    (world.size().unsigned_abs() as usize, world.rank().unsigned_abs() as usize)
}

/// MPI counts in 32 bits with a sign.
pub(crate) const MOST: usize = 1 << 30;

/// sum = Σ over all processes of `own`, in each of them.
pub(crate) fn all_reduce<C: Communicator>(world: &C, own: &[f32], sum: &mut [f32]) {
    for (own, sum) in own.chunks(MOST).zip(sum.chunks_mut(MOST)) {
        world.all_reduce_into(own, sum, SystemOperation::sum());
    }
}

/// whole `[rows, columns]` of the parts `[rows, share]` of all processes.
pub(crate) fn all_gather<C: Communicator>(
    world: &C,
    rows: usize,
    columns: usize,
    part: &[f32],
    whole: &mut [f32],
) -> Result<()> {
    let (processes, _) = place(world);
    if rows * columns > MOST {
        return Err(Error::Unsupported {
            what: format!("an all-gather of {} numbers", rows * columns),
            why: format!("MPI counts up to {MOST} here: gather fewer rows at a time"),
        });
    }
    let shares: Vec<Range<usize>> = (0..processes).map(|rank| share(columns, processes, rank)).collect();
    let counts: Vec<i32> = shares.iter().map(|share| (rows * share.len()) as i32).collect();
    let starts: Vec<i32> = shares.iter().map(|share| (rows * share.start) as i32).collect();
    let mut parts = vec![0.0f32; rows * columns];
    world.all_gather_varcount_into(part, &mut PartitionMut::new(&mut parts[..], counts, starts));
    // Part after part, as they came: row after row, as y is.
    for share in shares.iter().filter(|share| !share.is_empty()) {
        let part = &parts[rows * share.start..rows * share.end];
        for (row, from) in whole.chunks_mut(columns).zip(part.chunks(share.len())) {
            row[share.clone()].copy_from_slice(from);
        }
    }
    Ok(())
}

/// A layer of product, bias and activation alone: what else it might have would have to be split, too.
pub(crate) fn plain(layer: &AffineRequest) -> Result<()> {
    let more = [
        ("a front", layer.front.is_some()),
        ("a residual", layer.residual.is_some()),
        ("a row weight", layer.row_weight),
        ("a jet", layer.jet.is_some()),
        ("a gate", layer.gate.is_some()),
        ("a dropout", layer.dropout.is_some()),
        ("statistics", layer.statistics.any()),
    ];
    match more.iter().find(|(_, there)| *there) {
        None => layer.check_sizes(),
        Some((what, _)) => Err(Error::Unsupported {
            what: format!("{what} in a layer over many processes"),
            why: "product, bias, activation and α are split; call the layer of a part by itself".into(),
        }),
    }
}

/// Exactly so many numbers, because a collective call sends and receives all of them.
pub(crate) fn exactly(operand: Operand, length: usize, expected: usize) -> Result<()> {
    match length == expected {
        true => Ok(()),
        false => {
            Err(Error::Operand { operand, expected: format!("{expected} numbers"), got: format!("{length} numbers") })
        }
    }
}
