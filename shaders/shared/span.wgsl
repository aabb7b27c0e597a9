// Sums over `span` neighbouring lanes, a power of two of them; with MAGNITUDE the largest magnitudes instead, and then without SHUFFLES.
// With SHUFFLES in registers as far as a subgroup reaches, and what its subgroups found through workgroup memory; else all through workgroup
// memory, as a tree. Every lane of the workgroup comes here.
#use real
#if SHUFFLES
// The lanes of a subgroup, 4 to 128: known only when the kernel runs.
var<private> subgroup_lanes: u32;

// The lane's number: neighbours in a subgroup are neighbours, in whatever order the device counts the lanes of a workgroup.
fn lane_of(subgroup: u32, place: u32, lanes: u32) -> u32 {
    subgroup_lanes = lanes;
    return subgroup * lanes + place;
}

// Over the span, or the subgroup if that is less; in each of its lanes.
fn subgroup_sum(v: f32, span: u32) -> f32 {
    let reach = min(span, subgroup_lanes);
    var sum = v;
    // Distances that are constants: AMD's compiler has an instruction for such an exchange, and as a loop it takes twice the time.
#for i in 7
    if (reach > (1u << {i}u)) {
        sum += subgroupShuffleXor(sum, 1u << {i}u);
    }
#end
    return sum;
}
#end

#if ROW_SUMS
var<workgroup> span_lanes: array<f32, LANES>;

// The sum of all components; valid in the first lane of the span. Another may follow at once.
fn span_sum(v: real, lane: u32, span: u32) -> f32 {
#if MAGNITUDE
    let own = largest_of(v);
#else
#if WIDE
    let own = dot(v, vec4<f32>(1.0));
#else
    let own = v;
#end
#end
#if SHUFFLES
    var sum = subgroup_sum(own, span);
    if (subgroup_lanes < span) {
        span_lanes[lane] = sum;
        workgroupBarrier();
        if (lane % span == 0u) {
            for (var s = subgroup_lanes; s < span; s += subgroup_lanes) {
                sum += span_lanes[lane + s];
            }
        }
        workgroupBarrier();
    }
    return sum;
#else
    span_lanes[lane] = own;
    workgroupBarrier();
    for (var half = span / 2u; half > 0u; half /= 2u) {
        if (lane % span < half) {
#if MAGNITUDE
            span_lanes[lane] = larger_of(span_lanes[lane], span_lanes[lane + half]);
#else
            span_lanes[lane] += span_lanes[lane + half];
#end
        }
        workgroupBarrier();
    }
    return span_lanes[lane];
#end
}
#end
