//! Layers with jets: groups of rows in every kind of kernel, and every activation's derivatives up to the third.

use elbow::{
    Activation, Checks, Gpu, Jet,
    plan::{Form, TILES},
};
use elbow_verify::{Spec, points};

use crate::common::{as_a_gpu, checks, full, gpu, passes};

/// Two operators of two tangents and one of six, of integers.
fn jets() -> [String; 3] {
    let six = (0..21).map(|i| [1, 0, -1, 2][i % 4].to_string()).collect::<Vec<_>>().join(",");
    ["1,0.5,-2".into(), "0,0,1".into(), six]
}

fn spec(text: &str) -> Spec {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// What a layer with jets can have.
const ASKED: [&str; 4] = [
    "saved=z dx=set dw=add db=set residual=before dresidual=set",
    "saved=none layout=in_out dx=add dw=set db=add residual=after dresidual=add bias=no",
    "saved=z dx=set dw=set db=set below=relu_squared/constant/z/no/set/no/no/JET/no",
    "saved=z alpha=channel dx=set dw=set db=set dalpha=set dtype=bf16 gap=4",
];

/// One of them on a tile, by integers, at sizes around its edges.
fn exact(gpu: &Gpu, tile: usize, jet: &str, asked: usize) {
    if !TILES[tile].fits(&gpu.caps(), Form::Nt) {
        return;
    }
    let (activation, flat) = if asked == 3 { ("prelu", ",flat") } else { ("relu_squared", "") };
    let splits = [1, 3][asked % 2];
    let text = format!(
        "m=1 n=1 k=1 activation={activation} jet={jet}{flat} {} tile={tile} splits={splits} data=integers seed={asked}",
        ASKED[asked].replace("JET", jet)
    );
    let spec = Spec { misalign: tile % 2, ..spec(&text) };
    let sizes = [[1, 1, 1], [2, 5, 3], [5, 33, 36], [9, 36, 16], [17, 64, 65]];
    passes(gpu, &sizes.map(|[m, n, k]| spec.sized(m, n, k)));
}

/// Direct, broadcast, and a tile whose lanes have one row each, which the plan replaces.
#[test]
fn integers_in_every_kind_of_product() {
    let tiles: &[usize] = if full() { &[0, 1, 2, 3, 4, 8, 9, 10, 12] } else { &[0, 8, 3] };
    for (i, &tile) in tiles.iter().enumerate() {
        for (j, jet) in jets().iter().enumerate() {
            (0..ASKED.len()).filter(|l| full() || (i + j + l) % 3 == 0).for_each(|l| exact(gpu(), tile, jet, l));
        }
    }
}

/// By the texts of a GPU, which take a compiler for a CPU longer: groups of four in staged tiles, of eight in a direct one.
#[test]
fn integers_in_the_products_of_a_gpu() {
    let gpu = as_a_gpu();
    let [two, heat, six] = jets();
    if full() {
        for tile in [0, 1, 5, 6, 7, 13, 14, 15, 16] {
            jets().iter().for_each(|jet| (0..ASKED.len()).for_each(|asked| exact(gpu, tile, jet, asked)));
        }
        return;
    }
    exact(gpu, 5, &two, 2);
    if checks() == Checks::Trusted {
        exact(gpu, 14, &two, 0);
        exact(gpu, 5, &heat, 3);
        exact(gpu, 1, &six, 1);
    }
}

#[test]
fn every_activation() {
    let mut specs = Vec::new();
    for (seed, activation) in (0..).zip(points::defaults()) {
        let jet = Jet::two([1.0, -0.25, 0.5]).unwrap().even_if_flat();
        let alpha = if activation.has_alpha() { " alpha=channel dalpha=set" } else { "" };
        let ways = [("normal", "z"), ("lognormal", "none")];
        for (data, saved) in
            ways.into_iter().skip(if full() { 0 } else { seed as usize % 2 }).step_by(2 - usize::from(full()))
        {
            let usual = spec(&format!("m=4 n=1 k=1 activation=relu saved={saved} jet={jet} data={data} db=set{alpha}"));
            let mut spec = Spec { seed, ..usual };
            spec.forward.activation = activation;
            specs.push(spec.sized(9, 12, 20));
        }
    }
    assert!(specs.iter().any(|spec| spec.forward.activation == Activation::TANH));
    passes(gpu(), &specs);
}
