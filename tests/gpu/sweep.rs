//! Accuracy over all finite f32: every activation and derivative against the f64 mathematics, in ulp of the terms.
//! The table: `cargo test --test gpu -- sweep --nocapture`. All 2³² patterns: `elbow sweep --stride 1`.

use elbow::{Activation, activation::Quantity};
use elbow_verify::points::{self, Kernels, Points};

use crate::common::{full, gpu};

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
    println!("| activation | act | act' | act'' | ∂act/∂α | ∂²act/∂z∂α |\n|---|---|---|---|---|---|");
    let mut failures = Vec::new();
    for activation in activations {
        let judge = Points::new(activation, x.clone());
        let mut worst = [0.0f64; 5];
        for (quantity, got) in points::on_device(gpu(), activation, &x, Kernels::All).unwrap() {
            let found = judge.worst(quantity, &got);
            if found.ulp > activation.row().tolerance(quantity) {
                failures.push(format!("{activation}: {found:?}"));
            }
            worst[quantity as usize] = worst[quantity as usize].max(found.ulp);
        }
        let has = |q: Quantity| judge.quantities().contains(&q);
        let cells = Quantity::ALL.map(|q| if has(q) { format!("{:.2}", worst[q as usize]) } else { String::new() });
        println!("| `{activation}` | {} |", cells.join(" | "));
    }
    assert!(failures.is_empty(), "{failures:#?}");
}
