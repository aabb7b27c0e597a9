//! Real numbers: every activation fused, forward and backward, both roads, within the bound that the accuracy table and
//! the error of the sum allow.

use elbow::{
    AlphaSource, Road, Saved, Want,
    activation::rows,
    plan::Pin,
    request::{AffineRequest, Below, Gradients},
};

use crate::{
    case::{Spec, run},
    common::{full, gpu},
};

fn spec(activation: elbow::Activation, alpha: AlphaSource, road: Road) -> Spec {
    let learnable = alpha != AlphaSource::Constant;
    Spec {
        forward: AffineRequest { alpha, saved: Saved::Z, ..AffineRequest::new(19, 37, 45, activation) },
        gradients: Gradients {
            x: Want::Overwrite,
            w: Want::Overwrite,
            b: Want::Overwrite,
            alpha: if learnable { Want::Overwrite } else { Want::No },
            residual: Want::No,
        },
        below: None,
        pin: Pin { road, tile: Some(0), ..Pin::default() },
        misalign: 0,
        exact: false,
    }
}

#[test]
fn every_activation_fused_by_both_roads() {
    let mut specs = Vec::new();
    for row in rows() {
        let required = row.parameters.iter().filter(|p| p.default.is_none()).count();
        let activation = elbow::Activation::new(row.kind, &vec![0.5; required]).unwrap();
        specs.push(spec(activation, AlphaSource::Constant, Road::TwoPass));
        // A prologue repeats the slope at every load: a text that takes a driver seconds, so not for every row.
        if full() || ["gelu_erf", "elu", "softplus", "tanh", "leaky_relu"].contains(&row.name) {
            specs.push(spec(activation, AlphaSource::Constant, Road::Prologue));
        }
        if row.learnable {
            specs.push(spec(activation, AlphaSource::PerChannel, Road::TwoPass));
            if full() {
                specs.push(spec(activation, AlphaSource::PerLayer, Road::TwoPass));
            }
        }
    }
    run(gpu(), &specs, false, 600);
}

#[test]
fn chains_over_smooth_activations() {
    let mut specs = Vec::new();
    for name in ["gelu", "silu", "swish", "elu", "softplus"] {
        let activation: elbow::Activation = name.parse().unwrap();
        let alpha = if activation.has_alpha() { AlphaSource::PerChannel } else { AlphaSource::Constant };
        let dalpha = if activation.has_alpha() { Want::Overwrite } else { Want::No };
        let below = Below { activation, alpha, saved: Saved::Z, db: Want::Accumulate, dalpha };
        specs.push(Spec { below: Some(below), ..spec(activation, AlphaSource::Constant, Road::Auto) });
    }
    run(gpu(), &specs, false, 700);
}
