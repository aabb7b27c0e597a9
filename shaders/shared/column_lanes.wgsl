// Sums over the rows of a block of LX columns (LX groups of four with WIDE): LY lanes a column, each over every LY-th row,
// then a tree over the lanes. A lane adds up runs of 16 before it adds to its total, so that long sums keep their digits.
// With MAGNITUDE the largest magnitudes in the place of the sums.
#use real
var<workgroup> lane_sums: array<real, LX * LY>;

struct Running {
    total: real,
    run: real,
    count: u32,
}

fn add_to(r: ptr<function, Running>, v: real) {
#if MAGNITUDE
    (*r).total = larger((*r).total, v);
#else
    (*r).run += v;
    (*r).count += 1u;
    if (((*r).count & 15u) == 0u) {
        (*r).total += (*r).run;
        (*r).run = real();
    }
#end
}

// The column's sum, valid in the lane of ly = 0. It reads where it alone has written: another sum may follow at once.
fn over_lanes(r: Running, lx: u32, ly: u32) -> real {
#if MAGNITUDE
    lane_sums[ly * LX + lx] = r.total;
#else
    lane_sums[ly * LX + lx] = r.total + r.run;
#end
    workgroupBarrier();
    for (var half = LY / 2u; half > 0u; half /= 2u) {
        if (ly < half) {
#if MAGNITUDE
            lane_sums[ly * LX + lx] = larger(lane_sums[ly * LX + lx], lane_sums[(ly + half) * LX + lx]);
#else
            lane_sums[ly * LX + lx] += lane_sums[(ly + half) * LX + lx];
#end
        }
        workgroupBarrier();
    }
    return lane_sums[lx];
}
