// The update of parameters by their gradient, element by element. Without RATES SGD with p = (rate, momentum):
//     velocity = momentum · velocity + gradient;  parameter −= rate · velocity
// With RATES the numbers lie in memory, in the order of `rates::Place`, and so does the factor on the gradient: 1 / loss scale, times what
// clipping leaves; 0 where the step is left out. With FACTORS four numbers for each RUN of parameters multiply rate, decay and l1.
// With ADAMW the moments are divided by what they lack in their first steps. With COPY the parameter is also stored in the type that the
// products read.
#use tile
#use real
#use bits
const RUN = 128u;

// What an l1 penalty leaves: t nearer to 0, and 0 within t of it.
fn shrunk_one(v: f32, t: f32) -> f32 {
    return keep_nan(select(v - with_sign(t, v), 0.0, abs(v) <= t), v);
}

fn shrunk(v: real, t: f32) -> real {
#if WIDE
    return vec4<f32>(shrunk_one(v.x, t), shrunk_one(v.y, t), shrunk_one(v.z, t), shrunk_one(v.w, t));
#else
    return shrunk_one(v, t);
#end
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let tile = workgroup_number(wid);
    if (tile >= P.tiles) {
        return;
    }
    let i = (tile * LANES + lane) * WIDTH;
    if (i >= P.rows) {
        return;
    }
#if RATES
    let factor = rates_at(8u);
    if (factor == 0.0) {
        return;
    }
    var rate = rates_at(0u);
    let momentum = rates_at(1u);
    var decay = rates_at(4u);
    var l1 = rates_at(5u);
#if FACTORS
    let run = i / RUN * 4u;
    rate *= factors_at(run);
    decay *= factors_at(run + 1u);
    l1 *= factors_at(run + 2u);
#end
    var gradient = gradient_item(i) * factor;
    var parameter = parameter_item(i);
#if ADAMW
    let beta2 = rates_at(2u);
    parameter *= 1.0 - rate * decay;
    let first = momentum * first_moment_item(i) + (1.0 - momentum) * gradient;
    let second = beta2 * second_moment_item(i) + (1.0 - beta2) * gradient * gradient;
    first_moment_set(i, first);
    second_moment_set(i, second);
    parameter -= (rate / rates_at(10u)) * first / (sqrt(second / rates_at(11u)) + rates_at(3u));
#else
    gradient += decay * parameter;
#if MOMENTUM
    let v = momentum * velocity_item(i) + gradient;
    velocity_set(i, v);
#if NESTEROV
    gradient += momentum * v;
#else
    gradient = v;
#end
#end
    parameter -= rate * gradient;
#end
    parameter = shrunk(parameter, rate * l1);
#else
#if SCALED
    let unscale = loss_scale_at(1u);
    if (unscale == 0.0) {
        return;
    }
    let gradient = gradient_item(i) * unscale;
#else
    let gradient = gradient_item(i);
#end
    let v = P.p.y * velocity_item(i) + gradient;
    velocity_set(i, v);
    let parameter = parameter_item(i) - P.p.x * v;
#end
    parameter_set(i, parameter);
#if COPY
    copy_set(i, parameter);
#end
}
