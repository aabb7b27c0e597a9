//! Layers of small integers: every sum is exact in any order, so that both roads must agree to the last bit.

use elbow::{
    Activation, AlphaSource, Dropout, Gate, Jet, ResidualAt, Saved, Want, WeightLayout,
    request::{
        AffineRequest, BackwardRequest, Below, DoubleBackwardRequest, Front, Gradients, Returning, SecondGradients,
    },
};
use elbow_host::Road;

use crate::{
    hosts,
    layer::{Layer, Written, road},
};

const O: Want = Want::Overwrite;
const A: Want = Want::Accumulate;

fn layer(m: usize, n: usize, k: usize) -> AffineRequest {
    AffineRequest::new(m, n, k, Activation::RELU)
}

/// dx, dw and db.
fn all() -> Gradients {
    Gradients::default().x(O).w(O).b(O)
}

fn half() -> Dropout {
    Dropout::new(0.5).unwrap()
}

fn same(case: &str, gpu: Written, cpu: Written, wrong: &mut Vec<String>) {
    for ((name, gpu), (_, cpu)) in gpu.iter().zip(&cpu) {
        let differs = |i: &usize| gpu[*i].to_bits() != cpu[*i].to_bits() && gpu[*i] != cpu[*i];
        assert!(!gpu.iter().chain(cpu).any(|v| v.is_nan()), "{case}: {name} was not written, or is not a number");
        if let Some(i) = (0..cpu.len()).find(differs) {
            wrong.push(format!("{case}: {name}[{i}] is {} on the GPU, {} on the CPU", gpu[i], cpu[i]));
        }
    }
}

fn forward_cases() -> Vec<(&'static str, AffineRequest, Saved)> {
    let prelu = layer(9, 33, 5).activation(Activation::prelu(0.25).unwrap());
    let front = Front::new(Activation::RELU).scale(true).shift(true);
    vec![
        ("plain", layer(5, 7, 6), Saved::None),
        ("z", layer(65, 3, 8), Saved::Z),
        ("mask", layer(4, 70, 9), Saved::Mask),
        ("a mask of one column", layer(4, 1, 9), Saved::Mask),
        ("no bias, in_out", layer(3, 5, 17).bias(false).layout(WeightLayout::InOut), Saved::Y),
        ("alpha of the layer", prelu.alpha(AlphaSource::PerLayer), Saved::Z),
        ("alpha of each channel", prelu.alpha(AlphaSource::PerChannel), Saved::Z),
        ("residual after", layer(5, 6, 7).residual(ResidualAt::AfterActivation), Saved::Z),
        ("residual before", layer(5, 6, 7).residual(ResidualAt::BeforeActivation), Saved::Z),
        ("row weight", layer(5, 6, 7).row_weight(true), Saved::Z),
        ("dropout", layer(5, 6, 7).dropout(half()), Saved::Z),
        ("front", layer(5, 6, 7).front(front), Saved::Z),
        ("gate, stacked", layer(5, 6, 7).gate(Gate::stacked()), Saved::Z),
        ("gate, interleaved, up first", layer(5, 6, 7).gate(Gate::interleaved().up_first()), Saved::Z),
        ("gate, apart", layer(5, 6, 7).gate(Gate::apart()), Saved::Z),
        ("jets", layer(8, 6, 7).jet(Jet::laplacian(2).unwrap().even_if_flat()), Saved::Z),
        ("no inputs", layer(3, 4, 0), Saved::Z),
        ("no rows", layer(0, 4, 3), Saved::Z),
        ("no columns", layer(2, 0, 3), Saved::Z),
    ]
}

fn backward_cases() -> Vec<(&'static str, BackwardRequest, Saved)> {
    let case = |name, affine, gradients, saved| (name, BackwardRequest::new(affine, gradients), saved);
    let prelu = layer(9, 33, 5).activation(Activation::prelu(0.25).unwrap());
    let front = Front::new(Activation::prelu(0.25).unwrap()).scale(true).shift(true).alpha(AlphaSource::PerChannel);
    let of_front = all().scale(O).shift(A).front_alpha(O);
    let apart = layer(5, 6, 7).gate(Gate::apart());
    let before = layer(5, 6, 7).residual(ResidualAt::BeforeActivation);
    let square = layer(5, 6, 6).residual(ResidualAt::AfterActivation);
    let below = Below::new(Activation::prelu(0.25).unwrap(), Saved::Z).alpha(AlphaSource::PerChannel).dalpha(O);
    let below = below.row_weight(true).drow_weight(O).dropout(half()).db(O);
    let chain = |saved| BackwardRequest::new(layer(5, 6, 7), all()).below(Below::new(Activation::RELU, saved).db(O));
    vec![
        case("from y", layer(5, 7, 6), all(), Saved::Y),
        case("from z", layer(65, 3, 8), all(), Saved::Z),
        case("from the mask", layer(4, 70, 9), all(), Saved::Mask),
        case("from nothing", layer(5, 7, 6), all(), Saved::None),
        case("dw alone", layer(5, 7, 6), Gradients::default().w(O), Saved::Y),
        case("dx alone", layer(5, 7, 6).layout(WeightLayout::InOut), Gradients::default().x(O), Saved::Mask),
        case("added to", layer(5, 7, 6), Gradients::default().x(A).w(A).b(A), Saved::Y),
        case("identity", layer(5, 7, 6).activation(Activation::IDENTITY), all(), Saved::None),
        case("alpha of the layer", prelu.alpha(AlphaSource::PerLayer), all().alpha(O), Saved::Z),
        case("alpha of each channel", prelu.alpha(AlphaSource::PerChannel), all().alpha(A), Saved::None),
        case("residual before", before, all().residual(O), Saved::None),
        case("residual after", before.residual(ResidualAt::AfterActivation), all().residual(O), Saved::Z),
        case("row weight", layer(5, 6, 7).row_weight(true), all().row_weight(O), Saved::Z),
        case("dropout", layer(5, 6, 7).dropout(half()), all(), Saved::Z),
        case("front", layer(5, 6, 7).front(front), of_front, Saved::Z),
        case("front, z again", layer(5, 6, 7).front(front), of_front, Saved::None),
        case("gate, stacked", layer(5, 6, 7).gate(Gate::stacked()), all(), Saved::Z),
        case("gate, z again", layer(5, 6, 7).gate(Gate::interleaved()), all(), Saved::None),
        case("gate, apart", apart, all().w_up(O).b_up(O), Saved::Z),
        case("jets", layer(8, 6, 7).jet(Jet::laplacian(2).unwrap().even_if_flat()), all(), Saved::Z),
        ("skip", BackwardRequest::new(square, all()).skip(true), Saved::Z),
        ("from dz", BackwardRequest::new(layer(5, 6, 7), all()).upstream_is_dz(true), Saved::Y),
        ("chain over z", chain(Saved::Z), Saved::Z),
        ("chain over y", chain(Saved::Y), Saved::Y),
        ("chain over all that a layer has", chain(Saved::Z).below(below), Saved::Z),
        case("no rows", layer(0, 4, 3), all(), Saved::Z),
    ]
}

#[test]
fn forward_of_integers_has_the_same_bits_on_both_roads() {
    let [gpu, cpu] = hosts();
    assert_eq!([road(gpu), road(cpu)], [Road::Gpu, Road::Cpu]);
    let mut wrong = Vec::new();
    for (case, request, saved) in forward_cases() {
        let layer = Layer::new(request, true);
        let [(of_gpu, mask_of_gpu), (of_cpu, mask_of_cpu)] = [gpu, cpu].map(|host| layer.forward(host, saved).unwrap());
        same(case, of_gpu, of_cpu, &mut wrong);
        if mask_of_gpu != mask_of_cpu {
            wrong.push(format!("{case}: the masks differ"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn backward_of_integers_has_the_same_bits_on_both_roads() {
    let [gpu, cpu] = hosts();
    let mut wrong = Vec::new();
    for (case, request, saved) in backward_cases() {
        let layer = Layer::new(request.affine, true);
        let run = |host| layer.backward(host, &request, saved).unwrap_or_else(|error| panic!("{case}: {error}"));
        same(case, run(gpu), run(cpu), &mut wrong);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn double_backward_of_integers_has_the_same_bits_on_both_roads() {
    let [gpu, cpu] = hosts();
    let (all, there) = (SecondGradients::default().dy(O).x(O).w(O).b(O), Returning::default().x(true).w(true).b(true));
    let squared = layer(5, 6, 7).activation(Activation::RELU_SQUARED);
    let before = squared.residual(ResidualAt::BeforeActivation);
    let prelu = layer(5, 6, 7).activation(Activation::prelu(0.25).unwrap()).alpha(AlphaSource::PerChannel);
    let mut wrong = Vec::new();
    for (case, request, saved) in [
        ("from z", DoubleBackwardRequest::new(squared, there, all), Saved::Z),
        ("from nothing", DoubleBackwardRequest::new(squared, there, all), Saved::None),
        ("in_out", DoubleBackwardRequest::new(squared.layout(WeightLayout::InOut), there, all), Saved::Z),
        ("a penalty", DoubleBackwardRequest::new(squared, Returning::default().x(true), all), Saved::Z),
        ("residual", DoubleBackwardRequest::new(before, there.residual(true), all.residual(O)), Saved::None),
        ("alpha", DoubleBackwardRequest::new(prelu, there.alpha(true), all.alpha(O)), Saved::Z),
    ] {
        let layer = Layer::new(request.affine, true);
        let run = |host| layer.double_backward(host, &request, saved).unwrap_or_else(|error| panic!("{case}: {error}"));
        same(case, run(gpu), run(cpu), &mut wrong);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
