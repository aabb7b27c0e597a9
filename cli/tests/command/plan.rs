//! `elbow plan`.

use std::process::Output;

use crate::harness::Folder;

fn run(arguments: &[&str]) -> Output {
    // A folder of its own for each list of arguments.
    let name: String = arguments.concat().chars().filter(|c| c.is_alphanumeric()).collect();
    Folder::new(&format!("plan-{name}")).elbow(&[&["plan"], arguments].concat())
}

fn plan(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is missing in:\n{text}");
    }
}

#[test]
fn a_plan_shows_dispatches_programs_and_text() {
    let text = plan(&["--activation", "gelu", "64", "256", "128", "--backward", "--class", "discrete", "--wgsl"]);
    has(
        &text,
        &[
            "forward, saved z:",
            "backward, saved z:",
            "rows 64 cols 128",
            "loops of at most",
            "scratch:",
            "= act#0(",
            "= act_dz#0(",
            "y[m,n] = ",
            "sum over m of ",
            "@compute",
            "fn act0(",
        ],
    );
    let short = plan(&["--activation", "gelu", "64", "256", "128", "--class", "discrete"]);
    assert!(!short.contains("@compute") && !short.contains("backward"), "{short}");
}

#[test]
fn a_plan_is_the_same_in_every_format() {
    let layer = ["--activation", "gelu", "64", "256", "128", "--backward", "--class", "discrete", "--dtype", "f16"];
    let said = |format: &str, more: &[&str]| plan(&[&layer[..], more, &["--format", format]].concat());
    let (text, markdown) = (said("table", &["--wgsl"]), said("md", &["--wgsl"]));
    let json: serde_json::Value = serde_json::from_str(&said("json", &["--wgsl"])).expect("JSON");
    for part in ["forward", "backward"] {
        let plan = &json[part];
        assert!(text.contains(&format!("{part}, {}:", plan["says"].as_str().expect("words"))), "{text}");
        assert!(text.contains(&format!("scratch: {} bytes", plan["scratch_bytes"])), "{text}");
        assert!(markdown.contains(&format!("- scratch: {} bytes", plan["scratch_bytes"])), "{markdown}");
        assert!(plan["bytes"].as_u64() > Some(2 * 64 * 256 + 2 * 256 * 128 + 2 * 64 * 128), "{plan:#}");
        for dispatch in plan["dispatches"].as_array().expect("a list") {
            let variant = dispatch["variant"].as_str().expect("a name");
            let line =
                format!("{} × {variant}: rows {} cols {}", dispatch["tiles"], dispatch["rows"], dispatch["columns"]);
            assert!(text.contains(&line), "{line}: {text}");
            assert!(markdown.contains(&format!("| {variant} |")) && markdown.contains(&format!("## {variant}")));
            let wgsl = dispatch["wgsl"].as_str().expect("a text");
            assert!(wgsl.contains("@compute") && text.contains(wgsl) && markdown.contains(wgsl.trim_end()));
            for lines in dispatch["programs"].as_object().expect("programs").values() {
                let lines: Vec<&str> =
                    lines.as_array().expect("lines").iter().filter_map(|line| line.as_str()).collect();
                assert!(!lines.is_empty() && markdown.contains(&lines.join("\n")), "{lines:?}: {markdown}");
            }
            for operand in dispatch["operands"].as_array().expect("operands") {
                let same = |key: &str| operand[key].as_str().expect("a name").to_owned();
                let typed = if operand["dtype"] == "f32" { String::new() } else { format!(":{}", same("dtype")) };
                assert!(text.contains(&format!(" {}={}{typed}", same("slot"), same("operand"))), "{operand}: {text}");
            }
        }
    }
    assert_eq!(json["forward"]["dispatches"][0]["operands"][0]["dtype"], "f16");
    assert_eq!(markdown.matches("```").count() % 2, 0, "every fence is closed");
    let short: serde_json::Value = serde_json::from_str(&said("json", &[])).expect("JSON");
    assert!(short["forward"]["dispatches"][0]["wgsl"].is_null() && !said("md", &[]).contains("@compute"));
    let network =
        ["--activation", "tanh", "4096", "3", "1", "--hidden", "32", "--class", "discrete", "--format", "json"];
    let network: serde_json::Value = serde_json::from_str(&plan(&network)).expect("JSON");
    assert_eq!(network["forward"]["says"], "of 2 layers, an Mlp does it so");
    assert!(network["backward"].is_null());
}

#[test]
fn everything_that_a_layer_may_have_is_in_its_programs() {
    let layer = ["--activation", "prelu", "--alpha", "channel", "--residual", "before", "--row-weight", "--no-bias"];
    let sizes = ["5", "7", "33", "--backward", "--class", "software"];
    let text = plan(&[&layer[..], &sizes].concat());
    has(&text, &["alpha[n]", "residual[m,n]", "row_weight[m]", "drow_weight", "dalpha", "dresidual"]);
    assert!(!text.contains("b[n]"), "{text}");
    let text = plan(&["--activation", "relu", "--statistics", "5", "7", "33", "--class", "software"]);
    has(&text, &["b[n]", "channel_statistics[4,n]", "row_statistics[0,n]"]);
    let text =
        plan(&["--activation", "tanh", "--jet", "0,0.5,-1", "--backward", "8", "7", "33", "--class", "software"]);
    has(&text, &["for 4 rows", "saved[m+3,n]", "act_dzzz#0(", "-1.0", "sum over m of"]);
    // Nine bindings, where WebGPU promises eight.
    let output = run(&[&["--statistics"], &layer[..], &sizes].concat());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && stderr.contains("row_partials") && stderr.contains('8'), "{stderr}");
}

#[test]
fn a_plan_for_this_machine_is_that_of_its_adapter() {
    let text = plan(&["--activation", "relu", "8", "64", "64", "--dtype", "f16"]);
    has(&text, &["forward, saved y", "x:f16"]);
}

#[test]
fn what_cannot_be_planned_is_refused() {
    for (arguments, part) in [
        (&["--activation", "gelu", "--save", "mask", "2", "3", "4", "--backward"][..], "gelu_erf"),
        (&["--activation", "tanh", "--alpha", "layer", "2", "3", "4"], "no learnable parameter"),
        (&["--activation", "relu", "--dtype", "f64", "2", "3", "4"], "f64"),
        (&["--activation", "rellu", "2", "3", "4"], "rellu"),
        (&["--activation", "relu", "2", "3"], "<N>"),
        (&["--activation", "tanh", "--jet", "0,1", "4", "3", "4"], "c11,c12,c22"),
        (&["--activation", "tanh", "--jet", "0,1,0", "5", "3", "4"], "groups of 4 rows"),
        (&["--activation", "relu", "--jet", "0,1,0", "4", "3", "4"], "would not see the network"),
    ] {
        let output = run(&[&["--class", "integrated"], arguments].concat());
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {stderr}");
        assert!(stderr.contains(part) && stderr.lines().count() == 1, "{arguments:?}: {stderr}");
    }
}

#[test]
fn the_plan_of_a_whole_network() {
    let network = ["--activation", "prelu", "--alpha", "channel", "4096", "3", "1", "--hidden", "32,32,32"];
    let of = |more: &[&str]| plan(&[&network[..], &["--class", "discrete"], more].concat());
    let text = of(&["--output", "tanh", "--backward", "--wgsl"]);
    has(
        &text,
        &[
            "forward of 4 layers, an Mlp does it so:",
            "backward, an Mlp does it so:",
            "network",
            "network_backward",
            "column_sum",
            "PER_CHANNEL",
            "tanh",
            "fn act0(",
            "fn act1(",
            "scratch:",
            "gradient=",
        ],
    );
    let short = of(&["--dtype", "f16"]);
    assert!(!short.contains("backward") && short.contains("copy"), "{short}");
    let jets = ["--activation", "tanh", "4096", "3", "1", "--hidden", "32", "--jet", JET, "--class", "discrete"];
    let jets = plan(&[&jets[..], &["--backward"]].concat());
    has(&jets, &["forward of 2 layers", "TANGENTS", "backward, an Mlp does it so:", "HALVES"]);
    let software = plan(&[&network[..], &["--class", "software", "--backward"]].concat());
    has(&software, &["forward of 4 layers, an Mlp goes layer by layer: ", "backward, an Mlp goes layer by layer: "]);
    for (arguments, words) in [
        (&["--activation", "relu", "4", "3", "4", "--hidden", "8,9"][..], "hidden layers of one size"),
        (&["--activation", "relu", "4", "3", "4", "--hidden", "129"], "limit is 128"),
        (&["--activation", "relu", "4", "3", "4", "--hidden", "8", "--gate", "stacked"], "cannot be used with"),
        (&["--activation", "relu", "4", "3", "4", "--hidden", "8", "--save", "z"], "cannot be used with"),
        (&["--activation", "relu", "4", "3", "4", "--output", "tanh"], "--hidden"),
        (&["--activation", "tanh", "9", "3", "4", "--hidden", "8", "--jet", JET, "--backward"], "groups of 8"),
    ] {
        let output = run(&[arguments, &["--class", "discrete"]].concat());
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && error.contains(words), "{arguments:?}: {error}");
    }
}

/// The Laplacian in three dimensions: six tangents.
const JET: &str = "1,0,0,0,0,0,1,0,0,0,0,1,0,0,0,0,0,0,0,0,0";
