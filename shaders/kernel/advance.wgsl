// The next step of the rates (in the order of `rates::Place`): what the gradient is multiplied by, and if the step is taken their count and
// what the moments of AdamW lack so far, 1 - beta^steps. With CLIP partials[0] is the sum of the squares of all gradients; with SCALED they
// are those of a scaled loss.
#use tile
#use log
#use expm1

// 1 - beta^steps, for beta from 0 to 1.
fn lacking(beta: f32, steps: f32) -> f32 {
    return -expm1(steps * log_normal(max(beta, 0x1p-126f)));
}

@compute @workgroup_size(1)
fn main() {
    var factor = 1.0;
#if SCALED
    factor = loss_scale_at(1u);
#end
#if CLIP
    let norm = sqrt(partials_at(0u)) * factor;
    let most = rates_at(6u);
    rates_put(9u, norm);
    // Asked on the bits: NaN and infinity leave the step out.
    if ((bitcast<u32>(norm) & 0x7f800000u) == 0x7f800000u) {
        factor = 0.0;
    } else if (norm > most) {
        factor *= most / norm;
    }
#end
    rates_put(8u, factor);
    if (factor == 0.0) {
        return;
    }
    let steps = rates_at(7u) + 1.0;
    rates_put(7u, steps);
    rates_put(10u, lacking(rates_at(1u), steps));
    rates_put(11u, lacking(rates_at(2u), steps));
}
