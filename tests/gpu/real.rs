//! Real numbers: every activation fused, forward and backward, both strategies, within the bound that the accuracy table and
//! the error of the sum allow; and data that is hard on sums.

use elbow::{Activation, AlphaSource, Saved, Strategy, Want, activation::rows, plan::Pin, request::Below};
use elbow_verify::{Data, Spec};

use crate::common::{full, gpu, passes};

fn spec(activation: Activation, alpha: AlphaSource, strategy: Strategy) -> Spec {
    let mut spec = Spec::new(19, 37, 45, activation);
    spec.forward.alpha = alpha;
    spec.gradients.alpha = if alpha == AlphaSource::Constant { Want::No } else { Want::Overwrite };
    spec.pin = Pin::default().strategy(strategy).tile(0);
    spec
}

#[test]
fn every_activation_fused_by_both_strategies() {
    let mut specs = Vec::new();
    for row in rows() {
        let required = row.parameters.iter().filter(|p| p.default.is_none()).count();
        let activation = Activation::new(row.kind, &vec![0.5; required]).unwrap();
        specs.push(spec(activation, AlphaSource::Constant, Strategy::TwoPass));
        // A prologue repeats the slope at every load: a text that takes a driver seconds, so not for every row.
        if full() || ["gelu_erf", "elu", "softplus", "tanh", "leaky_relu"].contains(&row.name) {
            specs.push(spec(activation, AlphaSource::Constant, Strategy::Prologue));
        }
        if row.learnable {
            specs.push(spec(activation, AlphaSource::PerChannel, Strategy::TwoPass));
            if full() {
                specs.push(spec(activation, AlphaSource::PerLayer, Strategy::TwoPass));
            }
        }
    }
    passes(gpu(), &specs);
}

#[test]
fn chains_over_smooth_activations() {
    let mut specs = Vec::new();
    for name in ["gelu", "silu", "swish", "elu", "softplus"] {
        let activation: Activation = name.parse().unwrap();
        let alpha = if activation.has_alpha() { AlphaSource::PerChannel } else { AlphaSource::Constant };
        let dalpha = if activation.has_alpha() { Want::Overwrite } else { Want::No };
        let below = Below::new(activation, Saved::Z).alpha(alpha).db(Want::Accumulate).dalpha(dalpha);
        specs.push(Spec { below: Some(below), ..spec(activation, AlphaSource::Constant, Strategy::Auto) });
    }
    passes(gpu(), &specs);
}

/// Fifteen orders of magnitude, one huge element, terms that cancel; z saved, and z computed again.
#[test]
fn data_that_is_hard_on_sums() {
    let mut specs = Vec::new();
    for name in ["gelu", "silu", "softplus", "leaky_relu(0.3)"] {
        let activation: Activation = name.parse().unwrap();
        for data in &Data::ALL[1..] {
            for (i, (m, n, k)) in [(33, 20, 400), (64, 64, 64), (3, 5, 2000), (700, 9, 17)].into_iter().enumerate() {
                let mut spec =
                    Spec { data: *data, seed: i as u64, ..spec(activation, AlphaSource::Constant, Strategy::Auto) };
                if i % 2 == 1 {
                    spec.forward.saved = Saved::None;
                }
                specs.push(spec.sized(m, n, k));
            }
        }
    }
    passes(gpu(), &specs);
}
