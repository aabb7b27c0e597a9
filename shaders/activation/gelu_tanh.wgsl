#use tanh
// gelu_tanh: y = z/2 (1 + tanh(u)) = z sigmoid(2u), 2u = A z + B z^3, A = 2 sqrt(2/pi), B = A * 0.044715
// With t = |z| and e = exp(-2u(t)) everything is rational in e without cancellation. t is capped where e is zero: no z^3
// that overflows. Every function asks for the same e, so that a kernel with several of them computes it once; NaN comes back at the end.

const ACT_A: f32 = 1.595703125; // the head of A
const ACT_A_TAIL: f32 = 6.59966e-05;
const ACT_B: f32 = 0.07135009765625; // the head of B
const ACT_B_TAIL: f32 = 4.7186163e-06;

const ACT_THIRD: f32 = -1.60366745; // 6 B - A^3 / 2

// exp(-2u(t)), with 2u built from 12-bit pieces whose products are exact; both large pieces are reduced before they are
// added.
fn act_exp(t: f32) -> Scaled {
    let t_head = head(t);
    let t_tail = t - t_head;
    let square = t_head * t_head;
    let square_head = head(square);
    let square_tail = (square - square_head) + (t + t_head) * t_tail;
    let cube = t_head * square_head;
    let cube_head = head(cube);
    let cube_tail = (cube - cube_head) + (t_head * square_tail + t_tail * (square_head + square_tail));
    let linear = ACT_A * t_head;
    let cubic = ACT_B * cube_head;
    let rest = (ACT_A * t_tail + ACT_A_TAIL * t) + (ACT_B * cube_tail + ACT_B_TAIL * (cube_head + cube_tail));
    let n1 = round(-linear * LOG2_E);
    let n2 = round(-cubic * LOG2_E);
    let twice_reduced = ((-linear - n1 * LN2_HEAD) + (-cubic - n2 * LN2_HEAD)) - (n1 + n2) * LN2_TAIL - rest;
    let n3 = round(twice_reduced * LOG2_E);
    return Scaled(exp_reduced(twice_reduced - n3 * 0.6931472), i32(n1 + n2 + n3));
}

// d(2u)/dt = A + 3 B t^2
fn act_inner_slope(t: f32) -> f32 {
    return 1.5957691 + 0.21406445 * (t * t);
}

fn act(z: f32, p: vec2<f32>) -> f32 {
    let t = capped_bits(z, 11.4);
    return through_sigmoid(z, t, act_exp(t));
}

fn act_dz(z: f32, p: vec2<f32>) -> f32 {
    let t = capped_bits(z, 11.4);
    let g = act_exp(t);
    let d = 1.0 + scale2(g.m, g.n);
    let k = scale2(g.m * (d - t * act_inner_slope(t)) / (d * d), g.n);
    return keep_nan(select(1.0 - k, k, z < 0.0), z);
}

fn act_dzz(z: f32, p: vec2<f32>) -> f32 {
    let t = capped_bits(z, 11.4);
    let g = act_exp(t);
    let e = scale2(g.m, g.n);
    let d = 1.0 + e;
    let u1 = act_inner_slope(t);
    let u2 = 0.4281289 * t;
    return keep_nan(scale2(g.m * ((2.0 * u1 + t * u2) * d - t * u1 * u1 * (1.0 - e)) / (d * d * d), g.n), z);
}

// With u1, u2, u3 the derivatives of 2u and T = tanh(u): 3 (u2 - T u1^2) + t (g / d^2 u1^3 - 3 T u1 u2 + u3) times e / d^2, with
// the sign of z; u3 = u2 / t. Of a small z, u2 and T may be subnormal: there it is z times act''''(0).
fn act_dzzz(z: f32, p: vec2<f32>) -> f32 {
    let t = capped_bits(z, 11.4);
    let g = act_exp(t);
    let e = scale2(g.m, g.n);
    let d = 1.0 + e;
    let u1 = act_inner_slope(t);
    let u2 = 0.4281289 * t;
    let twice = t * (1.5957691 + 0.07135482 * (t * t));
    let bracket = 4.0 * u2 + t * u1 * u1 * u1 * sigmoid_bend(e) - 3.0 * tanh_half(twice, e) * u1 * (u1 + t * u2);
    let third = scale2(g.m / (d * d) * select(bracket, -bracket, z < 0.0), g.n);
    return keep_nan(select(third, ACT_THIRD * z, t < 1e-5), z);
}
