//! `elbow tiles`, `elbow tune`, and who uses what tune has kept.

use serde_json::Value;

use crate::harness::{Folder, Numbers};

fn lines(output: &std::process::Output) -> Vec<Value> {
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

fn of<'a>(lines: &'a [Value], kind: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["line"] == kind).collect()
}

#[test]
fn every_form_is_exact_on_the_tiles_that_are_named() {
    let folder = Folder::new("tiles");
    let args = ["tiles", "--quick", "--format", "json", "--shapes", "5x7x9,33x65x40", "--tiles", "0,3"];
    let output = folder.elbow(&args);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = lines(&output);
    let products = of(&lines, "product");
    // Two sizes, on the plan's choice and two tiles; tile 3 does not serve TN.
    assert_eq!(products.len(), 2 * (3 + 3 + 2), "{lines:#?}");
    for product in products {
        assert_eq!(product["exact"], true, "{product}");
        assert!(product["time"]["median"].as_f64() > Some(0.0) && product["gflops"].as_f64() > Some(0.0), "{product}");
    }
    assert_eq!(lines.last().map(|line| &line["not_begun"]), Some(&Value::from(0)));
    let table =
        folder.elbow(&["tiles", "--quick", "--shapes", "5x7x9", "--forms", "nt", "--tiles", "0", "--dtype", "f16"]);
    let text = String::from_utf8_lossy(&table.stdout);
    assert!(table.status.success() && text.contains("GFLOP/s") && text.contains("the plan's choice"), "{text}");
}

#[test]
fn a_time_that_is_over_begins_nothing() {
    let folder = Folder::new("tiles-over");
    let output = folder.elbow(&["tiles", "--format", "json", "--seconds", "0", "--shapes", "4096x4096x4096"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = lines(&output);
    assert!(of(&lines, "product").is_empty() && lines[0]["not_begun"].as_u64() > Some(3), "{lines:?}");
}

#[test]
fn mistakes_are_one_line() {
    let folder = Folder::new("tiles-mistakes");
    let of_matrices = |tile: &elbow::plan::Tile| tile.stage == elbow::plan::Stage::Coop;
    let on_matrix_units = elbow::plan::TILES.iter().position(of_matrices).unwrap().to_string();
    for (args, says) in [
        (&["tiles", "--tiles", "99"][..], "0 to"),
        (&["tiles", "--forms", "TT"], "NT, NN or TN"),
        (&["tiles", "--shapes", "3x5"], "MxKxN"),
        (&["tiles", "--matrix-units", "maybe"], "stored"),
        (&["tune", "--sizes", "big"], "row, few, many or huge"),
        (
            &["tune", "--dry-run", "--sizes", "row", "--forms", "NT", "--tiles", &on_matrix_units],
            "expected a plain tile",
        ),
        (&["bench", "--tile", "x"], "0 to"),
        (&["bench", "--lines", "--format", "json"], "--format"),
        (&["bench", "--elements", "0"], "0"),
    ] {
        let output = folder.elbow(args);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {stderr}");
        assert!(stderr.lines().last().is_some_and(|line| line.contains(says)), "{args:?}: {stderr}");
    }
}

#[test]
fn lines_come_for_every_case_and_a_bad_one_stops_no_other() {
    let folder = Folder::new("lines");
    let shapes = "60000x60000x1,8x8x8";
    let args = ["bench", "--quick", "--lines", "--shapes", shapes, "--activations", "identity;relu", "--tile", "0"];
    let output = folder.elbow(&[&args[..], &["--elements", "1000", "--no-tuning"]].concat());
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = lines(&output);
    assert_eq!(lines[0]["line"], "about");
    assert_eq!(lines[0]["tuning"], "off");
    assert!(of(&lines, "ceilings")[0]["gpu_flops"].as_f64() > Some(0.0));
    let layers = of(&lines, "layer");
    assert_eq!(layers.len(), 4, "{lines:#?}");
    for layer in layers {
        if layer["m"] == 60000 {
            assert!(layer["failed"].as_str().is_some_and(|why| why.contains("at most")), "{layer}");
            continue;
        }
        assert_eq!(layer["tile"], 0);
        for part in ["inference", "unfused", "forward", "backward", "both", "step"] {
            assert!(layer["times"][part]["median"].as_f64() > Some(0.0), "{part}: {layer}");
        }
        assert!(layer["of_bound"].as_f64() <= Some(1.0), "{layer}");
    }
    let alone = of(&lines, "alone");
    assert_eq!(alone.len(), 4);
    assert!(alone.iter().all(|line| line["elements"] == 1000 && line["time"]["median"].as_f64() > Some(0.0)));
}

#[test]
fn tuning_is_said_in_every_format() {
    let folder = Folder::new("tune-formats");
    let tune = |format: &str, more: &[&str]| {
        let args = ["tune", "--sizes", "row", "--forms", "NT", "--tiles", "0,3", "--format", format];
        let output = folder.elbow(&[&args[..], more].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let json: Value = serde_json::from_str(&tune("json", &["--file", "kept"])).expect("JSON");
    assert!(json["adapter"].is_string() && json["operations_per_second"].as_f64() > Some(0.0), "{json:#}");
    assert_eq!((&json["kept"], folder.path("kept").exists()), (&Value::from("kept"), true));
    let times = json["times"].as_array().expect("a list");
    assert!(times.iter().all(|t| t["exact"] == true && t["time"]["median"].as_f64() > Some(0.0)), "{json:#}");
    let decision = &json["decisions"][0];
    assert_eq!((&decision["size"], &decision["form"]), (&Value::from("row"), &Value::from("NT")));
    assert_eq!(json["choices"]["row"]["NT"], decision["now"], "{json:#}");
    assert_eq!(json["choices"].as_object().map(|sizes| sizes.len()), Some(4));
    let markdown = tune("md", &["--dry-run"]);
    for part in [
        "- multiply-adds alone: ",
        "- kept nowhere",
        "| size | form | tile | ms | ± |",
        "## chosen, and",
        "| row | NT |",
    ] {
        assert!(markdown.contains(part), "{part}: {markdown}");
    }
    let json: Value = serde_json::from_str(&tune("json", &["--dry-run"])).expect("JSON");
    assert!(json["kept"].is_null());
}

/// What tune keeps is what bench and eval take, unless they are told not to.
#[test]
fn what_is_tuned_is_used() {
    let folder = Folder::new("tuned");
    let bench = ["bench", "--quick", "--lines", "--shapes", "1x8x8", "--activations", "relu", "--elements", "64"];
    let says = |more: &[&str]| {
        let output = folder.elbow(&[&bench[..], more].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        lines(&output)[0]["tuning"].as_str().unwrap_or_default().to_owned()
    };
    assert!(says(&[]).contains("none"), "nothing was tuned");
    let output = folder.elbow(&["tune", "--sizes", "row", "--forms", "NT", "--tiles", "0,3"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for word in ["row   NT", "bound, ms", "chosen, and", "kept in", "multiply-adds alone", "not tried"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    let won = text.lines().skip_while(|line| !line.contains("won")).nth(2).unwrap_or_default();
    assert!(won.contains("stays") || won.contains('x'), "what it won: {text}");
    assert!(says(&[]).contains("tuning-"), "{}", says(&[]));
    assert_eq!(says(&["--no-tuning"]), "off");
    let layer = Numbers(5).tensors(&[("x", &[1, 6]), ("w", &[3, 6])]);
    let tuned = folder.eval(&layer, &["--activation", "relu"]);
    let usual = folder.eval(&layer, &["--activation", "relu", "--no-tuning"]);
    crate::harness::assert_close(&tuned, &usual, 1e-6, "with and without tuning");
    assert!(folder.elbow(&["tune", "--forget"]).status.success());
    assert!(says(&[]).contains("none"), "it was forgotten");
}
