// loss[m] = log Σ_c exp(z[m,c]) − z[m,label[m]]    dz[m,c] = (softmax(z[m])[c] − [c = label[m]]) / rows
// With SCALED dz is that of the loss times its scale; with IGNORE a row whose label is P.ignored has loss and dz 0; with WEIGHTED loss and dz are
// multiplied by the weight of the label's class, and a row without weight is left out. The mean is over what is counted, with SUM it is a sum. SPAN neighbouring lanes share a row, LANES / SPAN rows a workgroup; each logit is read twice.
//
// rest = Σ exp(z[c] − top) over all classes but the label's. The label's logit is the first top, and another takes its
// place only where it is far above: a sum is scaled down by e^-16 at least, so that what was rounded before counts no more.
// With SMOOTH the targets are p.x for every class and p.z more for the label's, and p.y is what the label's lacks of 1: the loss has
// p.x Σ_c (z[label] − z[c]) added, summed with what rounding takes from it. Weights of classes multiply all of these targets.
//
// Loss and gradient come from rest without cancellation: a row with the label on top has the loss log(1 + rest), and
// −rest / (1 + rest) at the label.
#use tile
#use real
#use log1p
#use row_lanes
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
    var ignored = false;
#if IGNORE
    ignored = here && label == P.ignored;
#end
#if WEIGHTED
    var weight = 1.0;
    if (here && label < P.cols) {
        weight = class_weight_at(label);
    }
#if SMOOTH
    // The other classes have targets too.
    var others_apart = vec2<f32>();
#else
    ignored = ignored || weight == 0.0;
#end
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
#if WEIGHTED
                let w_{q} = class_weight_at(c + {q}u);
                add_apart(&others_apart, w_{q});
                add_apart(&apart, w_{q} * (at_label - z.{q:lane}));
#else
                add_apart(&apart, at_label - z.{q:lane});
#end
#end
            }
#end
#else
            if (c != label) {
                add_logit(&part, z);
#if SMOOTH
#if WEIGHTED
                let w = class_weight_at(c);
                add_apart(&others_apart, w);
                add_apart(&apart, w * (at_label - z));
#else
                add_apart(&apart, at_label - z);
#end
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
    rest = over_row(rest * exp_at_once(part.top, top), lane, place);
#end
#if SMOOTH
    // An infinite sum has lost nothing.
    var from_label = select(apart.x + apart.y, apart.x, is_infinite(apart.x));
#if WEIGHTED
    var others = others_apart.x + others_apart.y;
#end
    from_label = over_row(from_label, lane, place);
#if WEIGHTED
    others = over_row(others, lane, place);
#end
#end
#if WEIGHTED
#if SMOOTH
    // The sum of the targets.
    weight = P.p.z * weight + P.p.x * (others + weight);
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
#if WEIGHTED
        loss *= weight;
#end
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
#if COUNTED
    scale = scale / counted_at(0u);
#else
#if SUM
#else
    scale = scale / f32(P.rows);
#end
#end
#if WEIGHTED
    let share = scale * weight / whole;
#else
    let share = scale / whole;
#end
#if SMOOTH
    let other = scale * P.p.x;
#if WEIGHTED
    let at_top = -rest * share + other * others;
#else
    let at_top = -rest * share + scale * P.p.y;
#end
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
#if TARGETS_DIFFER
            dz.{q:lane} = select(scale2(e_{q}.m * share, e_{q}.n) - other * class_weight_at(c + {q}u), at_top, c + {q}u == label);
#else
            dz.{q:lane} = select(scale2(e_{q}.m * share, e_{q}.n) - other, at_top, c + {q}u == label);
#end
#end
#else
            let e = exp_under(z, top);
#if TARGETS_DIFFER
            dz = select(scale2(e.m * share, e.n) - other * class_weight_at(c), at_top, c == label);
#else
            dz = select(scale2(e.m * share, e.n) - other, at_top, c == label);
#end
#end
        }
        dlogits_set(row + c, dz);
    }
}
