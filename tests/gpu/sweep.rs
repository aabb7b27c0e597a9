//! Accuracy over all finite f32: every activation and derivative against the f64 mathematics, in ulp of the terms.
//! The table: `cargo test --test gpu -- sweep --nocapture`. All 2³² patterns: `elbow sweep --stride 1`.

use elbow::{
    Activation,
    activation::{Quantity, rows},
};
use elbow_verify::points::{self, Kernels, Points};

use crate::common::{Numbers, full, gpu, judge};

/// Parameters that are no powers of two, of either sign, beside each row's default.
const OTHERS: [&str; 15] = [
    "leaky_relu(0.3)",
    "elu(1.3)",
    "celu(0.7)",
    "celu(1000)",
    "celu(-2)",
    "elu(1e10)",
    "swish(1.3)",
    "swish(-0.37)",
    "swish(10)",
    "softplus(0.3)",
    "softplus(3.7)",
    "squareplus(0.5)",
    "hardsigmoid(0.3,0.4)",
    "clipped_relu(1.7)",
    "softshrink(0.3)",
];

#[test]
fn sweep_of_all_finite_inputs() {
    // Every stride-th bit pattern, and densely where functions bend: |x| in [2⁻⁶, 128].
    let stride: u32 = if full() { 1_031 } else { 48_611 };
    let mut x: Vec<f32> = (0..=u32::MAX / stride).map(|i| f32::from_bits(i * stride)).collect();
    let dense = if full() { 61 } else { 4_099 };
    let (from, to) = (2.0f32.powi(-6).to_bits(), 128.0f32.to_bits());
    x.extend((from..to).step_by(dense).flat_map(|bits| [f32::from_bits(bits), -f32::from_bits(bits)]));

    let mut activations = points::defaults();
    activations.extend(OTHERS.iter().map(|spec| spec.parse::<Activation>().unwrap()));
    println!("{} inputs each; worst ulp of the terms", x.len());
    println!(
        "| activation | act | act' | act'' | act''' | ∂act/∂α | ∂²act/∂z∂α | ∂³act/∂z²∂α | ∂²act/∂α² |\n|---|---|---|---|---|---|---|---|---|"
    );
    let mut failures = Vec::new();
    for activation in activations {
        let points = Points::new(activation, x.clone());
        let mut worst = [0.0f64; 8];
        for (quantity, got) in points::on_device(gpu(), activation, &x, Kernels::All).unwrap() {
            let found = points.worst(judge(), quantity, &got);
            if found.ulp > activation.row().tolerance(quantity) {
                failures.push(format!("{activation}: {found:?}"));
            }
            worst[quantity as usize] = worst[quantity as usize].max(found.ulp);
        }
        let has = |q: Quantity| points.quantities().contains(&q);
        let cells = Quantity::ALL.map(|q| if has(q) { format!("{:.2}", worst[q as usize]) } else { String::new() });
        println!("| `{activation}` | {} |", cells.join(" | "));
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

/// act''' of a function with a symmetry has it too, and so have the derivatives by α, to the last bit: whoever adds it up over z and -z gets 0.
#[test]
fn derivatives_are_odd_or_even_exactly() {
    const ODD: [&str; 8] =
        ["gelu", "gelu_tanh", "silu", "swish(1.3)", "quick_gelu", "softplus(0.7)", "squareplus(0.3)", "logsigmoid"];
    const EVEN: [&str; 4] = ["sigmoid", "tanh", "tanhshrink", "softsign"];
    let (least, most) = (f32::MIN_POSITIVE.to_bits(), f32::INFINITY.to_bits());
    let above: Vec<f32> = (least..=most).step_by(70_001).chain([0, most]).map(f32::from_bits).collect();
    let below: Vec<f32> = above.iter().map(|z| -z).collect();
    for (text, sign) in ODD.map(|text| (text, -1.0)).into_iter().chain(EVEN.map(|text| (text, 1.0))) {
        let activation: Activation = text.parse().unwrap();
        let [left, right] = [&below, &above].map(|z| points::on_device(gpu(), activation, z, Kernels::Few).unwrap());
        for ((quantity, left), (_, right)) in left.into_iter().zip(right) {
            // That of act'' by α is even where act'' is, and the second by α where act(z) - act(-z) is z.
            let sign = match quantity {
                Quantity::ThirdDerivative => sign,
                Quantity::MixedThirdDerivative | Quantity::SecondAlphaDerivative => 1.0,
                _ => continue,
            };
            for ((z, left), right) in above.iter().zip(left).zip(right) {
                assert!(left == sign * right, "{activation} {quantity:?} at ±{z:e}: {left:e}, {right:e}");
            }
        }
    }
}

/// Parameters anywhere in their domains, and z on the scale of each, near the kinks, among the subnormals and anywhere else.
#[test]
fn any_parameters() {
    let mut numbers = Numbers::new(11);
    // Over the exponents of f32 and a little beyond, a fourth of them near 1.
    let anywhere = |numbers: &mut Numbers| {
        let exponent =
            if numbers.below(4) == 0 { numbers.below(8) as i32 - 4 } else { numbers.below(290) as i32 - 155 };
        let size = (1.0 + numbers.below(1 << 23) as f64 / f64::from(1 << 23)) * 2f64.powi(exponent);
        (if numbers.below(2) == 0 { size } else { -size }) as f32
    };
    let (draws, inputs) = if full() { (400, 4_000) } else { (16, 1_000) };
    let mut failures = Vec::new();
    for row in rows().iter().filter(|row| !row.parameters.is_empty()) {
        let mut found = 0;
        while found < draws {
            let parameters: Vec<f32> = row.parameters.iter().map(|_| anywhere(&mut numbers)).collect();
            let Ok(activation) = Activation::new(row.kind, &parameters) else { continue };
            found += 1;
            let mut x = points::probes(&activation);
            for _ in 0..inputs {
                let u = (numbers.below(1 << 20) as f32 / (1 << 20) as f32 * 36.0 - 26.0).exp2();
                let scale = parameters[numbers.below(parameters.len())];
                let z = [u * scale, u / scale, anywhere(&mut numbers)][numbers.below(3)];
                x.extend([z, -z]);
            }
            let points = Points::new(activation, x);
            for (quantity, got) in points::on_device(gpu(), activation, &points.x, Kernels::All).unwrap() {
                let worst = points.worst(judge(), quantity, &got);
                if worst.ulp > row.tolerance(quantity) {
                    failures.push(format!("{activation} {worst:?}"));
                }
            }
        }
    }
    assert!(failures.is_empty(), "{} of them: {failures:#?}", failures.len());
}
