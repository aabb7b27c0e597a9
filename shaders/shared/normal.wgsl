#use exp
// The normal distribution: density and lower tail share e = exp(-t^2 / 2), and Phi(-t) = e * mills(t) has no 1 + erf in it,
// so that the tail keeps its digits down to the subnormals.

const INV_SQRT_2PI: f32 = 0.3989423;

// exp(-t^2 / 2) for t in [0, 16]: t is split by bits so that its square is exact in two parts.
fn gauss_scaled(t: f32) -> Scaled {
    let h = head(t);
    let g = -0.5 * h;
    return exp_scaled(g * h, (-0.5 * t - g) * (t + h));
}

// exp(t^2 / 2) * Phi(-t) for t in [0, 16] (Mills' ratio / sqrt(2 pi)); own minimax fit, degree 9 in q = (t - 3.5)/(t + 3.5).
fn mills(t: f32) -> f32 {
    let r = 1.0 / (t + 3.5);
    let q = (t - 3.5) * r;
    let high = 0.017406378 + q * (0.0064931153 + q * (-0.0031753108 + q * (-0.0004949425 + q * (0.0004218982
        + q * 0.000110689136))));
    let p = 0.74441606 + q * (-0.5655618 + q * (0.31542504 + q * (-0.11605304 + q * high)));
    return p * r;
}
