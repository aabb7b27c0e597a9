//! `elbow bench`: figures that are there, and a page that stands alone.

use serde_json::Value;

use crate::harness::Folder;

/// Three batches of one K and N: enough for a crossover.
const SHAPES: &str = "1x8x8,4x8x8,33x8x8";

#[test]
fn a_quick_run_gives_json_and_a_page_that_loads_nothing() {
    let folder = Folder::new("bench");
    let args = [
        "bench",
        "--quick",
        "--format",
        "json",
        "--shapes",
        SHAPES,
        "--activations",
        "relu; gelu",
        "--report",
        "out.html",
    ];
    let output = folder.elbow(&args);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let results: Value = serde_json::from_str(&text).expect("JSON on stdout");
    let number = |value: &Value, path: &str| value.pointer(path).and_then(Value::as_f64).unwrap_or(f64::NAN);
    for ceiling in ["gpu_bytes", "gpu_flops", "cpu_bytes"] {
        // Slower than any machine, faster than any machine.
        let rate = number(&results, &format!("/ceilings/{ceiling}"));
        assert!((1e6..1e16).contains(&rate), "{ceiling}: {rate}");
    }
    let layers = results["layers"].as_array().expect("layers");
    assert_eq!(layers.len(), 6, "{text}");
    for layer in layers {
        let parts = layer["parts"].as_array().expect("parts");
        assert_eq!(parts.len(), 3, "{layer}");
        for clock in ["gpu_wall", "gpu_transfers", "cpu"] {
            assert!(parts.iter().all(|p| number(p, &format!("/{clock}/median")) > 0.0), "{clock}: {layer}");
        }
        for ratio in ["speedup", "speedup_with_transfers"] {
            assert!(parts.iter().all(|p| number(p, &format!("/{ratio}/samples")) >= 8.0), "{ratio}: {layer}");
        }
        assert!(number(layer, "/of_bound") <= 1.0 && number(layer, "/ulp") > 0.0, "{layer}");
        assert!(number(layer, "/fused/median") > 0.0 && number(layer, "/unfused/median") > 0.0, "{layer}");
    }
    assert_eq!(results["alone"].as_array().map(Vec::len), Some(4), "{text}");
    // Forward and step of both activations.
    assert_eq!(results["answers"].as_array().map(Vec::len), Some(4), "{text}");
    for footprint in results["memory"].as_array().expect("memory") {
        let bytes = |name: &str| footprint[name].as_u64().unwrap_or_default();
        let parts = ["parameters", "copy", "gradients", "optimiser", "outputs", "kept", "dz", "batch_bytes", "scratch"];
        let sum: u64 = parts.into_iter().map(bytes).sum();
        assert!(sum > 0 && bytes("total").abs_diff(sum) < 16, "the parts are the whole: {footprint}");
    }
    let page = std::fs::read_to_string(folder.path("out.html")).expect("the page");
    for outside in ["http:", "https:", "src=", "href=", "url(", "@import", "<script"] {
        assert!(!page.contains(outside), "the page loads something: {outside}");
    }
    for word in ["viewport", "prefers-color-scheme", "<svg", "Memory of a training step", "1x8x8", "relu"] {
        assert!(page.contains(word), "{word} is not in the page");
    }
    assert!(!page.contains("NaN") && !page.contains("inf,"), "a figure is missing");
    assert_eq!(open_tags(&page), Vec::<String>::new());
}

#[test]
fn a_table_names_what_was_measured_on() {
    let folder = Folder::new("bench-table");
    let output = folder.elbow(&["bench", "--quick", "--shapes", "3x5x7", "--activations", "elu(1)"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for word in [
        "adapter: ",
        "CPU: elbow-cpu",
        "ceilings: ",
        "3x5x7",
        "elu",
        "backward",
        "step",
        "fused",
        "memory",
        "No verdict: ",
    ] {
        assert!(text.contains(word), "{word}: {text}");
    }
}

#[test]
fn mistakes_are_one_line() {
    let folder = Folder::new("bench-mistakes");
    for (args, says) in [
        (&["--shapes", "3x5"][..], "MxKxN"),
        (&["--shapes", "3x0x5"], "MxKxN"),
        (&["--shapes", "60000x60000x1"], "at most"),
        (&["--shapes", "400000x400000x1"], "limit"),
        (&["--shapes", "4000000000000x4000000000000x1"], "limit"),
        (&["--activations", "rleu"], "rleu"),
        (&["--quick", "--shapes", "1x1x1", "--activations", "relu", "--report", "no/such/folder.html"], "folder.html"),
    ] {
        let output = folder.elbow(&[&["bench"], args].concat());
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {stderr}");
        assert!(stderr.lines().last().is_some_and(|line| line.contains(says)), "{args:?}: {stderr}");
    }
}

/// The tags that are not closed, or closed by another.
fn open_tags(page: &str) -> Vec<String> {
    let mut open: Vec<String> = Vec::new();
    for piece in page.split('<').skip(1) {
        let Some((tag, _)) = piece.split_once('>') else { return vec![format!("<{piece}")] };
        if tag.starts_with('!') || tag.ends_with('/') {
            continue;
        }
        let name = tag.trim_start_matches('/').split_whitespace().next().unwrap_or_default().to_owned();
        if !tag.starts_with('/') {
            open.push(name);
        } else if open.pop().as_deref() != Some(&name) {
            return vec![format!("</{name}>")];
        }
    }
    open
}
