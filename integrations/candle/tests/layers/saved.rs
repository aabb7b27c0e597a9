//! What forward keeps for backward is a choice, and every legal one gives the same gradients.

use candle_core::Module;
use candle_nn::Linear;
use elbow::{Activation, Saved};
use elbow_candle::{GatedLinear, LinearAct};

use crate::{
    begin,
    case::{BOUND, Case},
};

fn legal(act: Activation, choices: &[Saved]) {
    begin();
    for &saved in &[&[Saved::Auto, Saved::Z, Saved::None], choices].concat() {
        let case = Case::plain(act);
        let linear = Linear::new(case.w.as_tensor().clone(), case.bias().cloned());
        let y = LinearAct::new(linear, act).saved(saved).forward(&case.x).unwrap();
        let off = case.distance(&y);
        assert!(off <= BOUND, "{act} from saved {saved}: {off:.1e}");
    }
}

#[test]
fn relu_from_y_from_a_mask_from_z_and_from_nothing() {
    legal(Activation::RELU, &[Saved::Y, Saved::Mask]);
}

#[test]
fn sigmoid_and_tanh_from_y_if_asked_for() {
    legal(Activation::SIGMOID, &[Saved::Y]);
    legal(Activation::TANH, &[Saved::Y]);
}

#[test]
fn gelu_from_z_and_from_nothing() {
    legal(Activation::GELU_ERF, &[]);
}

#[test]
fn a_choice_that_is_not_enough_is_an_error_of_forward() {
    begin();
    let case = Case::plain(Activation::SILU);
    let linear = Linear::new(case.w.as_tensor().clone(), case.bias().cloned());
    for saved in [Saved::Y, Saved::Mask] {
        let error = LinearAct::new(linear.clone(), Activation::SILU).saved(saved).forward(&case.x).unwrap_err();
        assert!(error.to_string().contains(&format!("backward of silu from saved {saved}")), "{error}");
    }
}

#[test]
fn two_backwards_of_one_graph_give_the_same_bits() {
    begin();
    let case = Case::plain(Activation::GELU_ERF);
    let y = GatedLinear::new(case.w.as_tensor().clone(), case.w.as_tensor().clone(), Activation::GELU_ERF);
    let y = y.forward(&case.x).unwrap();
    let dx = || crate::case::numbers(case.gradients(&y).unwrap().get(&case.x).unwrap());
    assert_eq!(dx(), dx());
}
