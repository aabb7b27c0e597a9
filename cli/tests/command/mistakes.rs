//! Every mistake: one line on stderr that names what was expected and what came, exit code 2, no output file.

use crate::harness::{Folder, Numbers, Tensors, fails, file, layer, with};

#[test]
fn wrong_shapes() {
    let folder = Folder::new("shapes");
    let run = |activation: &str, input: &[u8], parts: &[&str]| {
        for device in ["gpu", "cpu", "reference"] {
            fails(&folder, input, &["--activation", activation, "--device", device], parts);
        }
    };
    run("relu", &with(layer(), "w", &[3, 7]), &["w: expected [N, 6]", "got [3, 7]"]);
    run("relu", &with(layer(), "w", &[6, 3]), &["w: expected [N, 6]", "got [6, 3]", "--weight-layout in_out"]);
    run("relu", &with(layer(), "w", &[3, 6, 1]), &["x: expected [3, .., K]", "got [4, 6]", "batch", "--flatten"]);
    run("relu", &with(layer(), "b", &[4]), &["b: expected [3]", "got [4]"]);
    run("relu", &with(layer(), "b", &[1]), &["b: expected [3]", "got [1]"]);
    run("relu", &with(layer(), "b", &[1, 3]), &["b: expected [3]", "got [1, 3]"]);
    run("relu", &with(layer(), "dy", &[3, 4]), &["dy: expected [4, 3]", "got [3, 4]"]);
    run("relu", &with(layer(), "residual", &[4, 6]), &["residual: expected [4, 3]", "got [4, 6]"]);
    run("prelu", &with(layer(), "alpha", &[4]), &["alpha: expected [1] or [3]", "got [4]"]);
    run("relu", &with(layer(), "x", &[]), &["x: expected at least one dimension", "got []"]);
    let alone = Numbers(2).tensors(&[("x", &[4, 6])]);
    run("prelu", &with(alone.clone(), "alpha", &[4]), &["alpha: expected [1] or [6]", "got [4]"]);
    run("relu", &with(alone, "dy", &[6, 4]), &["dy: expected [4, 6]", "got [6, 4]"]);
    let both = Numbers(3).tensors(&[("x", &[4, 6]), ("dy", &[4, 6])]);
    run("relu", &with(both, "ddx", &[24]), &["ddx: expected [4, 6]", "got [24]"]);
}

#[test]
fn wrong_operands() {
    let folder = Folder::new("operands");
    let run = |activation: &str, input: &[u8], parts: &[&str]| {
        fails(&folder, input, &["--activation", activation], parts);
    };
    let alone = || Numbers(2).tensors(&[("x", &[4, 6])]);
    run("relu", &file(&Tensors::new()), &["x: expected", "got none"]);
    run("relu", &file(&Numbers(1).tensors(&[("w", &[4, 6])])), &["x: expected", "got none"]);
    run("relu", &with(alone(), "weight", &[4, 6]), &["expected tensors named x, w, b", "\"weight\""]);
    run("relu", &with(alone(), "a\nb", &[1]), &["expected tensors named x, w, b", "\"a\\nb\""]);
    run("relu", &with(alone(), "b", &[6]), &["b: expected no b", "without w"]);
    run("relu", &with(alone(), "residual", &[4, 6]), &["residual: expected no residual", "without w"]);
    run("relu", &with(alone(), "ddx", &[4, 6]), &["dy: expected", "got none"]);
    run("relu", &with(layer(), "ddx", &[4, 3]), &["ddx: expected [4, 6], the shape of x", "got [4, 3]"]);
    run("gelu", &with(layer(), "alpha", &[1]), &["alpha: expected no alpha", "gelu"]);
    run("gelu", &with(alone(), "alpha", &[1]), &["alpha: expected no alpha", "gelu"]);
}

#[test]
fn wrong_parameters_and_choices() {
    let folder = Folder::new("choices-wrong");
    let input = file(&layer());
    let run = |args: &[&str], parts: &[&str]| fails(&folder, &input, args, parts);
    run(&["--activation", "rellu"], &["rellu", "expected", "relu"]);
    run(&["--activation", ""], &["expected"]);
    run(&["--activation", "leaky_relu(x)"], &["leaky_relu", "slope", "got x"]);
    run(&["--activation", "leaky_relu(0.1"], &["leaky_relu(0.1", "expected"]);
    run(&["--activation", "relu(1)"], &["relu", "expected no parameter", "got 1"]);
    run(&["--activation", "softplus(-1)"], &["softplus", "expected", "got -1"]);
    run(&["--activation", "hardtanh(1,-1)"], &["hardtanh", "max", "expected", "got -1"]);
    run(&["--activation", "celu(nan)"], &["celu", "expected", "got NaN"]);
    run(&["--activation", "relu", "--device", "tpu"], &["tpu", "--device", "gpu, cpu, reference"]);
    run(&["--activation", "relu", "--weight-layout", "io"], &["io", "out_in, in_out"]);
    run(&["--activation", "relu", "--strategy", "short"], &["short", "prologue, two_pass"]);
    run(&["--activation", "relu", "--save", "w"], &["--save", "auto, z, y, mask, none"]);
    run(&["--activation", "relu", "--sav", "z"], &["--sav"]);
    run(&[], &["--activation"]);
    for device in ["gpu", "cpu", "reference"] {
        let run = |args: &[&str], parts: &[&str]| run(&[args, &["--device", device]].concat(), parts);
        run(&["--activation", "gelu", "--save", "y"], &["--save", "got y", "gelu_erf"]);
        run(&["--activation", "silu", "--save", "mask"], &["--save", "got mask", "silu"]);
        let learnable = with(layer(), "alpha", &[3]);
        for save in ["y", "mask"] {
            let args = ["--activation", "prelu", "--save", save, "--device", device];
            fails(&folder, &learnable, &args, &["--save", &format!("got {save}"), "alpha"]);
        }
        let residual = with(layer(), "residual", &[4, 3]);
        let args = ["--activation", "relu", "--save", "y", "--device", device];
        fails(&folder, &residual, &args, &["--save", "got y", "residual"]);
    }
}

#[test]
fn another_command_is_a_mistake_and_help_is_not() {
    let folder = Folder::new("help");
    let other = folder.elbow(&["bnech"]);
    assert_eq!(other.status.code(), Some(2), "no such command");
    assert_eq!(String::from_utf8_lossy(&other.stderr).lines().count(), 1, "one line");
    for args in [&[][..], &["--help"], &["eval", "--help"], &["--version"]] {
        let output = folder.elbow(args);
        assert!(output.status.success() && !output.stdout.is_empty(), "{args:?} must print and succeed");
    }
}
