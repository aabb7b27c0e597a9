//! Gated layers: stacked, interleaved, either first, limited, and of two weights.

use candle_core::{D, Tensor};
use elbow::{Activation, Gate};
use elbow_candle::{gated, gated_apart};

use crate::{
    begin,
    case::{BOUND, Case},
};

#[test]
fn gates_of_one_weight_are_within_bounds_of_the_reference() {
    begin();
    for gate in [
        Gate::stacked(),
        Gate::stacked().up_first(),
        Gate::interleaved(),
        Gate::interleaved().up_first(),
        Gate::stacked().limited(0.7).unwrap(),
    ] {
        for act in [Activation::SILU, Activation::GELU_TANH, Activation::RELU] {
            let case = Case::gated(act, gate);
            let off = case.distance(&gated(&case.x, &case.w, case.bias(), act, gate).unwrap());
            assert!(off <= BOUND, "{act}, {gate:?}: {off:.1e}");
        }
    }
}

#[test]
fn a_gate_of_two_weights_is_within_bounds_of_the_reference_and_as_candles_composition() {
    begin();
    for act in [Activation::SILU, Activation::GELU_ERF] {
        let mut case = Case::gated(act, Gate::apart());
        case.request = case.request.bias(false);
        let off = case.distance(&gated_apart(&case.x, &case.w, &case.w_up, act).unwrap());
        assert!(off <= BOUND, "{act}: {off:.1e}");
    }
    let mut case = Case::gated(Activation::SILU, Gate::apart());
    case.request = case.request.bias(false);
    let product = |w: &Tensor| case.x.matmul(&w.t().unwrap()).unwrap();
    let own = (product(&case.w).silu().unwrap() * product(&case.w_up)).unwrap();
    let off = case.distance(&own);
    assert!(off <= BOUND, "candle's own: {off:.1e}");
}

#[test]
fn a_stacked_gate_is_candles_swiglu() {
    begin();
    let case = Case::gated(Activation::SILU, Gate::stacked());
    let z = case.x.matmul(&case.w.t().unwrap()).unwrap().broadcast_add(&case.b).unwrap();
    assert_eq!(z.dim(D::Minus1).unwrap(), 14);
    let off = case.distance(&candle_nn::ops::swiglu(&z).unwrap());
    assert!(off <= BOUND, "{off:.1e}");
}
