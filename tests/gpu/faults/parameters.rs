//! Numbers 34 to 43: parameters out of their domain are errors that name parameter and domain; the extremes of the domain
//! give no NaN.

use elbow::{
    Activation, Error,
    activation::Quantity,
    elementwise,
    train::{LossScale, Sgd},
};

use super::good;
use crate::common::{gpu, judge};

/// 34 to 41: what each row of the activations' table declares. (36: PyTorch's hardtanh, too, refuses min > max. ONNX's Clip
/// gives max everywhere: a constant, whose gradient is zero; more often it is a mistake.)
#[test]
fn n34_to_n41_out_of_domain() {
    for (text, parameter) in [
        ("leaky_relu(nan)", "slope"),
        ("leaky_relu(inf)", "slope"),
        ("leaky_relu(-inf)", "slope"),
        ("prelu(nan)", "alpha"),
        ("hardtanh(1,-1)", "max"),
        ("hardtanh(nan,1)", "min"),
        ("hardtanh(-1,nan)", "max"),
        ("clipped_relu(-1)", "cap"),
        ("clipped_relu(nan)", "cap"),
        ("elu(inf)", "alpha"),
        ("elu(nan)", "alpha"),
        ("celu(0)", "alpha"),
        ("celu(-0)", "alpha"),
        ("celu(inf)", "alpha"),
        ("softplus(0)", "beta"),
        ("softplus(-1)", "beta"),
        ("softplus(nan)", "beta"),
        ("softplus(1,nan)", "threshold"),
        ("swish(inf)", "beta"),
        ("swish(nan)", "beta"),
        // Subnormal: there are devices that read it as 0.
        ("leaky_relu(1e-45)", "slope"),
        ("prelu(-1e-40)", "alpha"),
        ("clipped_relu(1.1754942e-38)", "cap"),
        ("hardtanh(-1e-40,1)", "min"),
        ("hardtanh(-1,1e-40)", "max"),
        ("threshold(1e-40,1)", "threshold"),
        ("threshold(1,1e-40)", "value"),
        ("thresholded_relu(-1e-40)", "theta"),
        ("softshrink(1e-40)", "lambda"),
        ("hardshrink(1e-40)", "lambda"),
        ("elu(1e-40)", "alpha"),
        ("celu(1e-45)", "alpha"),
        ("softplus(1e-40)", "beta"),
        ("softplus(1,1e-40)", "threshold"),
        ("squareplus(1e-40)", "b"),
        ("swish(1e-40)", "beta"),
        ("hardsigmoid(1e-40,0.5)", "slope"),
        ("hardsigmoid(0.2,1e-40)", "offset"),
        // So far from 1 that f32 overflows or vanishes on the way.
        ("celu(-9.9e-11)", "alpha"),
        ("softplus(1.1e10)", "beta"),
        ("swish(1e38)", "beta"),
        ("softplus(1,-1)", "threshold"),
        // Too large for f32: read as inf.
        ("leaky_relu(1e39)", "slope"),
    ] {
        let error = text.parse::<Activation>().expect_err(text);
        let Error::BadParameter { parameter: named, of, .. } = &error else { panic!("{text}: {error:?}") };
        assert_eq!(named, parameter, "{error}");
        assert!(text.starts_with(of.as_str()), "{error}");
    }
    good(gpu());
}

/// 42: a name that a configuration file has wrong, or has from elsewhere; text that is no call at all.
#[test]
fn n42_unknown_names() {
    for text in ["rleu", "", "()", "relu(", "relu)", "relu((1))", "relu\0", "🙂", "swish(1)(2)", &"a".repeat(100_000)]
    {
        assert!(matches!(text.parse::<Activation>(), Err(Error::UnknownActivation { .. })), "{text:.20}");
    }
    for text in ["relu(1)", "leaky_relu(1,2)", "leaky_relu(one)", "leaky_relu(1,)", "leaky_relu(,)", "threshold(1)"] {
        assert!(matches!(text.parse::<Activation>(), Err(Error::BadParameter { .. })), "{text}");
    }
    good(gpu());
}

/// 38: ELU with α = 0 and α < 0. 41: swish with β = 0, β < 0 and a β so large that β·z overflows. 43: CELU with the smallest
/// α that there is; a subnormal one, through which nothing can be divided, is refused above. (tests/gpu/sweep.rs walks every
/// row's domains.)
#[test]
fn n38_n41_n43_extremes_of_the_domain() {
    let gpu = gpu();
    let x = [-3e38, -104.0, -1.0, -1e-3, -0.0, 0.0, 1e-3, 1.0, 104.0, 3e38];
    let input = gpu.upload(&x, &[x.len()]).unwrap();
    let ones = gpu.upload(&[1.0; 10], &[x.len()]).unwrap();
    for text in ["elu(0)", "elu(-1)", "swish(0)", "swish(-1)", "swish(1e10)", "celu(1e-10)", "celu(-1e10)"] {
        let activation: Activation = text.parse().unwrap();
        let (y, dx) = (gpu.zeros(&[x.len()]).unwrap(), gpu.zeros(&[x.len()]).unwrap());
        gpu.submit_pass(|pass| {
            let forward = elementwise::Forward::new(activation, &input, &y);
            forward.record(gpu, &mut *pass)?;
            forward.backward(&ones).dx(&dx).record(gpu, pass)
        })
        .unwrap();
        for (quantity, got) in [(Quantity::Value, &y), (Quantity::Slope, &dx)] {
            for (&z, got) in x.iter().zip(gpu.download(got).unwrap()) {
                let (ulps, allowed) =
                    (judge().ulps(&activation, quantity, z, got), activation.row().tolerance(quantity));
                assert!(ulps <= allowed, "{text}: {quantity:?}({z}) = {got}, {ulps} ulp off, allowed {allowed}");
            }
        }
    }
    good(gpu);
}

/// Beside the sixty-four: numbers that would spoil every parameter at the next step, or a loss scale for good.
#[test]
fn rates_and_scales_that_make_no_sense_are_named() {
    let gpu = gpu();
    let [parameter, gradient, velocity] = [(); 3].map(|()| gpu.upload(&[1.0; 4], &[4]).unwrap());
    let bad = |result: Result<(), Error>, name: &str| match result {
        Err(Error::BadParameter { parameter, .. }) => assert_eq!(parameter, name),
        other => panic!("{name}: {other:?}"),
    };
    let sgd = |rate, momentum| {
        let call = Sgd::new(&parameter, &gradient, &velocity, rate).momentum(momentum);
        gpu.submit(|e| call.record(gpu, e))
    };
    for rate in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        bad(sgd(rate, 0.9), "rate");
    }
    for momentum in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.9, -f32::MIN_POSITIVE] {
        bad(sgd(0.1, momentum), "momentum");
    }
    assert_eq!(gpu.download(&parameter).unwrap(), [1.0; 4]);
    sgd(0.0, 0.0).unwrap();
    let state = gpu.upload(&LossScale::INITIAL, &[4]).unwrap();
    let usual = LossScale::new(&gradient, &state);
    let scale = |call: LossScale<'_>| gpu.submit(|e| call.record(gpu, e));
    for growth in [f32::NAN, f32::INFINITY, 1.0, 0.5, 0.0, -2.0] {
        bad(scale(usual.growth(growth)), "growth");
    }
    for backoff in [f32::NAN, 0.0, -0.5, 1.0, 2.0, f32::INFINITY] {
        bad(scale(usual.backoff(backoff)), "backoff");
    }
    bad(scale(usual.interval(0)), "interval");
    assert_eq!(gpu.download(&state).unwrap(), LossScale::INITIAL);
    scale(usual.growth(4.0).backoff(0.25).interval(1)).unwrap();
    good(gpu);
}
