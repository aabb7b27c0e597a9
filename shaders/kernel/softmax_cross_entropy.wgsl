// loss[m] = log Σ_c exp(z[m,c]) − z[m,label[m]]    dz[m,c] = (softmax(z[m])[c] − [c = label[m]]) / rows
// With SCALED dz is that of the loss times its scale; with IGNORE a row whose label is P.ignored has loss and dz 0, and the
// mean is over the others. SPAN neighbouring lanes share a row, LANES / SPAN rows a workgroup; each logit is read twice.
//
// rest = Σ exp(z[c] − top) over all classes but the label's. The label's logit is the first top, and another takes its
// place only where it is far above: a sum is scaled down by e^-16 at least, so that what was rounded before counts no more.
// With SMOOTH the targets are p.x for every class and p.y more for the label's: the loss has p.x Σ_c (z[label] − z[c]) added, summed with
// what rounding takes from it.
//
// Loss and gradient come from rest without cancellation: a row with the label on top has the loss log(1 + rest), and
// −rest / (1 + rest) at the label.
#use tile
#use real
#use log1p
// As much above the top a logit may be before it takes its place, and as much below that it counts as nothing.
const RAISE = 16.0;
const FAR = -160.0;

struct Part {
    top: f32,
    // Times 2^64, so that a device that flushes subnormals does not lose what rounding has taken from a small one.
    sum: f32,
    // What rounding has taken from sum.
    lost: f32,
}

#if SHARED_ROWS
var<workgroup> tops: array<f32, LANES>;
var<workgroup> sums: array<f32, LANES>;
#end

fn nan() -> f32 {
    return bitcast<f32>(0x7fc00000u ^ P.zero);
}

// NaN or +inf: no row with one of them has a loss.
fn spoils(z: f32) -> bool {
    let bits = bitcast<u32>(z);
    return (bits & 0x7fffffffu) >= 0x7f800000u && bits != 0xff800000u;
}

// exp(z − top), of the exact difference: what the subtraction rounds away goes into the exponential.
fn exp_under(z: f32, top: f32) -> Scaled {
    let d = opaque(z - top);
    let l = select(z - (d + top), (z - d) - top, abs(z) >= abs(top));
    let far = d < FAR;
    let e = exp_scaled(select(d, FAR, far), select(l, 0.0, far));
    return Scaled(select(e.m, 0.0, far), e.n);
}

fn exp_at_once(z: f32, top: f32) -> f32 {
    let e = exp_under(z, top);
    return scale2(e.m, e.n);
}

fn add_logit(r: ptr<function, Part>, z: f32) {
    if (z - (*r).top > RAISE) {
        let scale = exp_at_once((*r).top, z);
        *r = Part(z, (*r).sum * scale, (*r).lost * scale);
    }
    let share = exp_under(z, (*r).top);
    let e = scale2(share.m, share.n + 64);
    let sum = opaque((*r).sum + e);
    (*r).lost += select((e - sum) + (*r).sum, ((*r).sum - sum) + e, (*r).sum >= e);
    (*r).sum = select(sum, nan(), spoils(z));
}

#if SMOOTH
// Adds d to a sum and what rounding has taken from it.
fn add_apart(r: ptr<function, vec2<f32>>, d: f32) {
    let before = (*r).x;
    let sum = opaque(before + d);
    (*r) = vec2<f32>(sum, (*r).y + select((d - sum) + before, (before - sum) + d, abs(before) >= abs(d)));
}
#end

// log(1 + x) for x >= 0.
fn log1p_positive(x: f32) -> f32 {
    let bits = bitcast<u32>(1.0 + x);
    let small = x < 1.0;
    let m = select(bitcast<f32>((bits & 0x7fffffu) | 0x3f800000u) - 1.0, x, small);
    let n = select(f32(bits >> 23u) - 127.0, 0.0, small);
    let s = m / (2.0 + m);
    let z = s * s;
    return n * LN2_HEAD + (n * LN2_TAIL + (2.0 * s + s * z * log1p_series(z)));
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let tile = workgroup_number(wid);
    if (tile >= P.tiles) {
        return;
    }
    let place = lane % SPAN;
    let m = tile * (LANES / SPAN) + lane / SPAN;
    let here = m < P.rows;
    let row = m * P.cols;
    var label = P.cols;
    if (here) {
        label = labels_at(m);
    }
#if IGNORE
    let ignored = here && label == P.ignored;
#else
    let ignored = false;
#end
    var at_label = nan();
    if (here && label < P.cols) {
        at_label = logits_at(row + label);
    }
    // From here on a number, and the smallest one for -inf.
    var part = Part(select(-LARGEST, at_label, abs(at_label) <= LARGEST), 0.0, 0.0);
#if SMOOTH
    var apart = vec2<f32>();
#end
    if (here && !ignored && !spoils(at_label)) {
        for (var c = place * WIDTH; c < P.cols; c += SPAN * WIDTH) {
            let z = logits_item(row + c);
#if WIDE
#for q in 4
            if (c + {q}u != label) {
                add_logit(&part, z.{q:lane});
#if SMOOTH
                add_apart(&apart, at_label - z.{q:lane});
#end
            }
#end
#else
            if (c != label) {
                add_logit(&part, z);
#if SMOOTH
                add_apart(&apart, at_label - z);
#end
            }
#end
        }
    }
    var top = part.top;
    var rest = (part.sum + part.lost) * 0x1p-64f;
#if SHARED_ROWS
    tops[lane] = top;
    workgroupBarrier();
    for (var half = SPAN / 2u; half > 0u; half /= 2u) {
        if (place < half) {
            tops[lane] = max(tops[lane], tops[lane + half]);
        }
        workgroupBarrier();
    }
    top = tops[lane - place];
    sums[lane] = rest * exp_at_once(part.top, top);
    workgroupBarrier();
    for (var half = SPAN / 2u; half > 0u; half /= 2u) {
        if (place < half) {
            sums[lane] += sums[lane + half];
        }
        workgroupBarrier();
    }
    rest = sums[lane - place];
#end
#if SMOOTH
    // An infinite sum has lost nothing.
    var from_label = select(apart.x + apart.y, apart.x, is_infinite(apart.x));
#if SHARED_ROWS
    workgroupBarrier();
    sums[lane] = from_label;
    workgroupBarrier();
    for (var half = SPAN / 2u; half > 0u; half /= 2u) {
        if (place < half) {
            sums[lane] += sums[lane + half];
        }
        workgroupBarrier();
    }
    from_label = sums[lane - place];
#end
#end
    if (!here) {
        return;
    }
    let whole = rest + exp_at_once(at_label, top);
    // An infinite or missing logit, a label that is no class, a row of nothing but -inf.
    let spoilt = spoils(at_label) || is_nan(rest) || whole == 0.0;
    if (place == 0u) {
        var loss = log1p_positive(rest);
        if (top > at_label) {
            loss = (top - at_label) + log1p_positive(whole - 1.0);
        }
#if SMOOTH
        // A class of probability 0 has a target: the loss is infinite.
        loss = select(loss + P.p.x * from_label, loss, is_infinite(loss));
#end
        loss_put(m, select(select(loss, nan(), spoilt), 0.0, ignored));
    }
    var scale = 1.0;
#if SCALED
    scale = loss_scale_at(0u);
#end
#if IGNORE
    scale = scale / counted_at(0u);
#else
    scale = scale / f32(P.rows);
#end
    let share = scale / whole;
#if SMOOTH
    let other = scale * P.p.x;
    let at_top = -rest * share + scale * P.p.y;
#else
    let other = 0.0;
    let at_top = -rest * share;
#end
    let odd = select(0.0, nan(), spoilt && !ignored);
    for (var c = place * WIDTH; c < P.cols; c += SPAN * WIDTH) {
        var dz = real(odd);
        if (!(spoilt || ignored)) {
            let z = logits_item(row + c);
#if WIDE
#for q in 4
            let e_{q} = exp_under(z.{q:lane}, top);
            dz.{q:lane} = select(scale2(e_{q}.m * share, e_{q}.n) - other, at_top, c + {q}u == label);
#end
#else
            let e = exp_under(z, top);
            dz = select(scale2(e.m * share, e.n) - other, at_top, c == label);
#end
        }
        dlogits_set(row + c, dz);
    }
}
