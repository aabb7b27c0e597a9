//! Bad operands: the same answer on both roads, and nothing is written.

use elbow::{
    Activation, Error, Saved, Want,
    cpu::ForwardInputs,
    request::{AffineRequest, BackwardRequest, Gradients, Statistics},
};
use elbow_cpu::{BackwardInputs, BackwardOutputs, ForwardOutputs, SavedIn, SavedOut};

use crate::hosts;

fn refused(what: &str, operand: &str, run: impl Fn(&elbow_host::Host, &mut [f32]) -> Result<(), Error>) {
    for host in hosts() {
        let mut place = [7.0; 4];
        let error = run(host, &mut place).expect_err(what);
        assert!(error.to_string().starts_with(operand), "{what}, {host}: {error}");
        assert_eq!(place, [7.0; 4], "{what}, {host}: something was written");
    }
}

#[test]
fn what_does_not_fit_is_named_and_nothing_is_written() {
    let layer = AffineRequest::new(2, 2, 3, Activation::GELU_ERF).bias(false);
    let (x, w) = ([1.0; 6], [1.0; 6]);
    let forward = |request: AffineRequest, inputs, saved: Option<usize>| {
        move |host: &elbow_host::Host, y: &mut [f32]| {
            let mut z = vec![0.0; saved.unwrap_or(0)];
            let saved = if saved.is_some() { SavedOut::Z(&mut z) } else { SavedOut::None };
            host.forward(&request, inputs, ForwardOutputs { y, saved, ..Default::default() }).map(drop)
        }
    };
    refused("a short x", "x:", forward(layer, ForwardInputs::new(&x[..5], &w), None));
    refused("a short w", "w:", forward(layer, ForwardInputs::new(&x, &w[..5]), None));
    refused("no bias", "b:", forward(layer.bias(true), ForwardInputs::new(&x, &w), None));
    refused("a bias too many", "b:", forward(layer, ForwardInputs::new(&x, &w).b(Some(&x)), None));
    refused(
        "a short y",
        "y:",
        forward(AffineRequest::new(3, 2, 2, Activation::RELU).bias(false), ForwardInputs::new(&x, &w), None),
    );
    refused("no room for z", "saved:", forward(layer.saved(Saved::Z), ForwardInputs::new(&x, &w), None));
    refused("room for z unasked", "saved:", forward(layer.saved(Saved::None), ForwardInputs::new(&x, &w), Some(4)));
    refused("a short z", "saved:", forward(layer.saved(Saved::Z), ForwardInputs::new(&x, &w), Some(3)));
    let counted = layer.statistics(Statistics::default().rows(true));
    refused("statistics", "statistics", forward(counted, ForwardInputs::new(&x, &w), None));

    let wants = Gradients::default().x(Want::Overwrite);
    let backward = |given: BackwardInputs<'static>, wants: Gradients| {
        move |host: &elbow_host::Host, place: &mut [f32]| {
            let mut dx = [7.0; 6];
            let outputs = BackwardOutputs { dx: Some(&mut dx), db: Some(place), ..Default::default() };
            let done = host.backward(&BackwardRequest::new(layer, wants), given, outputs);
            assert!(done.is_ok() || dx == [7.0; 6]);
            done.map(drop)
        }
    };
    let given = BackwardInputs { w: &[1.0; 6], dy: &[1.0; 4], saved: SavedIn::Z(&[1.0; 4]), ..Default::default() };
    refused("a short dy", "dy:", backward(BackwardInputs { dy: &[1.0; 3], ..given }, wants));
    refused("no w for dx", "w:", backward(BackwardInputs { w: &[], ..given }, wants));
    refused("a short z", "saved:", backward(BackwardInputs { saved: SavedIn::Z(&[1.0; 3]), ..given }, wants));
    refused("no room for dw", "dw:", backward(given, wants.w(Want::Overwrite)));
    // Of GELU y does not say the slope.
    refused("y of a GELU", "backward", backward(BackwardInputs { saved: SavedIn::Y(&[1.0; 4]), ..given }, wants));
}
