//! `elbow bench` of a whole network, and `elbow compare`.

use serde_json::Value;

use crate::harness::{Folder, Numbers, Tensors, file};

/// The shortest run of a network, as JSON.
fn bench(folder: &Folder, args: &[&str]) -> Value {
    let all = [&["bench", "--quick", "--elements", "64", "--format", "json"], args].concat();
    let output = folder.elbow(&all);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON on stdout")
}

fn numbers(value: &Value) -> Vec<u64> {
    value.as_array().into_iter().flatten().filter_map(Value::as_u64).collect()
}

#[test]
fn a_network_is_timed_on_both_sides_and_a_software_adapter_gets_no_verdict() {
    let folder = Folder::new("network");
    let args = ["--mlp", "3,16,8,2", "--activation", "silu", "--batches", "33,5", "--report", "out.html"];
    let results = bench(&folder, &args);
    let network = &results["network"];
    assert_eq!(numbers(&network["sizes"]), [3, 16, 8, 2]);
    let batches = network["batches"].as_array().expect("batches");
    assert_eq!(batches.iter().map(|at| at["batch"].as_u64()).collect::<Vec<_>>(), [Some(5), Some(33)]);
    for at in batches {
        for part in ["training", "inference"] {
            for side in ["gpu_wall", "gpu_transfers", "cpu", "speedup", "speedup_with_transfers"] {
                let of = |name: &str| at[part][side][name].as_f64().unwrap_or(f64::NAN);
                assert!(
                    0.0 < of("low") && of("low") <= of("median") && of("median") <= of("high"),
                    "{part} {side}: {at}"
                );
                assert!(of("samples") >= 8.0, "enough for an interval: {at}");
            }
        }
        assert!(at["of_bound"].as_array().expect("errors").iter().all(|share| share.as_f64() < Some(1.0)), "{at}");
    }
    // Three layers at two batches.
    assert_eq!(results["layers"].as_array().map(Vec::len), Some(6));
    if results["about"]["software"] == true {
        let answer = results["answer"].as_str().unwrap_or_default();
        assert!(answer.starts_with("No verdict: ") && answer.contains("software adapter"), "{answer}");
        assert!(results["answers"].as_array().expect("answers").iter().all(|a| a["resident"]["gpu_from"].is_null()));
    }
    let twin: Value =
        serde_json::from_slice(&std::fs::read(folder.path("out.json")).expect("the twin")).expect("JSON in it");
    assert_eq!(twin, results, "the twin is what was printed");
    let page = std::fs::read_to_string(folder.path("out.html")).expect("the page");
    assert!(page.contains("3-16-8-2, silu") && page.contains(results["answer"].as_str().unwrap_or("?")));
}

#[test]
fn every_loss_is_verified_and_timed() {
    let folder = Folder::new("network-losses");
    for loss in ["mse", "huber", "bce", "cross_entropy"] {
        let results = bench(&folder, &["--mlp", "4,8,3", "--loss", loss, "--batches", "9"]);
        assert_eq!(results["network"]["loss"], loss);
    }
}

/// A file as PyTorch's `save_file(model.state_dict())` writes it.
fn model(names: [&str; 2]) -> Tensors {
    let [first, second] = names.map(|name| [format!("{name}.weight"), format!("{name}.bias")]);
    let shapes: [(&str, &[usize]); 4] =
        [(&first[0], &[8, 3]), (&first[1], &[8]), (&second[0], &[2, 8]), (&second[1], &[2])];
    Numbers(3).tensors(&shapes)
}

#[test]
fn a_file_is_a_network() {
    let folder = Folder::new("network-file");
    for (prefix, names) in [("", ["0", "2"]), ("net.", ["net.0", "net.10"])] {
        std::fs::write(folder.path("model.safetensors"), file(&model(names))).expect("a file");
        let network = ["--model", "model.safetensors", "--prefix", prefix, "--activation", "tanh", "--batches", "7"];
        let results = bench(&folder, &network);
        assert_eq!(numbers(&results["network"]["sizes"]), [3, 8, 2]);
        assert_eq!(results["network"]["file"], "model.safetensors");
    }
}

#[test]
fn mistakes_are_one_line() {
    let folder = Folder::new("network-mistakes");
    let with = |name: &str, shape: &[usize]| {
        let mut tensors = model(["0", "2"]);
        tensors.insert(name.into(), (shape.to_vec(), vec![0.5; shape.iter().product()]));
        file(&tensors)
    };
    let mut lacking = model(["0", "2"]);
    lacking.remove("2.bias");
    for (name, bytes, says) in [
        ("chain", with("2.weight", &[2, 9]), "2.weight: expected [N, 8], the columns of the layer before, got [2, 9]"),
        ("bias", with("0.bias", &[9]), "0.bias: expected [8], got [9]"),
        ("alpha", with("1.weight", &[1]), "1.weight: expected no learned slope"),
        ("batch", with("0.weight", &[2, 8, 3]), "0.weight: expected [N, K] of a linear layer, got [2, 8, 3]"),
        ("empty", with("0.weight", &[8, 0]), "expected two sizes or more, each at least 1"),
        ("lacking", file(&lacking), "2.bias: expected [2], got none"),
        ("damaged", b"no file".to_vec(), "expected a safetensors file, got a damaged one"),
        ("none", file(&Tensors::new()), "none: expected tensors NUMBER.weight"),
    ] {
        std::fs::write(folder.path(name), bytes).expect("a file");
        let output = folder.elbow(&["bench", "--model", name]);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), stderr.lines().count()), (Some(2), 1), "{name}: {stderr}");
        assert!(stderr.contains(says), "{name}: {stderr}");
    }
    for (args, says) in [
        (&["--mlp", "8"][..], "expected two sizes or more"),
        (&["--mlp", "8,0,1"], "0"),
        (&["--mlp", "8,2", "--loss", "ms"], "expected mse, huber, bce, cross_entropy"),
        (&["--mlp", "8,2", "--shapes", "1x1x1"], "--shapes"),
        (&["--mlp", "8,2", "--dtype", "f16"], "--dtype"),
        (&["--mlp", "8,2", "--model", "chain"], "--model"),
        (&["--batches", "8"], "--batches: expected a network"),
        (&["--mlp", "8,2", "--batches", "0"], "0"),
        (&["--mlp", "100000,100000,100000"], "at most"),
        (&["--mlp", "8,2", "--report", "out.json"], "the name of a page, such as out.html"),
        (&["--model", "there-is-none"], "there-is-none: expected a readable file"),
    ] {
        let output = folder.elbow(&[&["bench"], args].concat());
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {stderr}");
        assert!(stderr.lines().last().is_some_and(|line| line.contains(says)), "{args:?}: {stderr}");
    }
}

/// Multiplies every time of the run whose path has this name.
fn slowed(value: &Value, name: &str, factor: f64) -> Value {
    let mut slowed = value.clone();
    let times = slowed["network"]["batches"][0]["training"][name].as_object_mut().expect("times");
    // A narrow interval, so that the change is beyond noise.
    let median = times["median"].as_f64().expect("a number");
    for (end, by) in [("low", 0.99), ("median", 1.0), ("high", 1.01)] {
        times[end] = Value::from(median * factor * by);
    }
    slowed
}

#[test]
fn runs_are_compared_and_a_regression_is_named() {
    let folder = Folder::new("compare");
    let results = bench(&folder, &["--mlp", "3,8,2", "--batches", "9"]);
    let write = |name: &str, value: &Value| std::fs::write(folder.path(name), value.to_string()).expect("a file");
    write("old.json", &slowed(&results, "gpu_wall", 1.0));
    write("new.json", &slowed(&results, "gpu_wall", 1.5));
    let output = folder.elbow(&["compare", "old.json", "new.json", "--report", "out.html"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "something is slower: {text}");
    let expected = "training, batch 9: wall (+50 %)";
    assert!(text.starts_with("1 of ") && text.lines().next().is_some_and(|line| line.contains(expected)), "{text}");
    assert!(text.contains("SLOWER") && text.contains("verdict"), "{text}");
    let page = std::fs::read_to_string(folder.path("out.html")).expect("the page");
    assert!(page.contains(expected) && page.contains("whisker slower") && !page.contains("NaN"), "{page}");
    let output = folder.elbow(&["compare", "new.json", "old.json", "--format", "json"]);
    let compared: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(output.status.code(), Some(0), "faster is no failure");
    assert_eq!(compared["changes"][0]["change"], "faster");
    let mut other = results.clone();
    other["about"]["adapter"] = Value::from("another");
    write("other.json", &other);
    let output = folder.elbow(&["compare", "old.json", "other.json"]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("not alike: adapter: "), "{output:?}");
    std::fs::write(folder.path("wrong.json"), "{}").expect("a file");
    for wrong in ["wrong.json", "none.json"] {
        let output = folder.elbow(&["compare", "old.json", wrong]);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), stderr.lines().count()), (Some(2), 1), "{stderr}");
        assert!(stderr.contains(&format!("{wrong}: expected the JSON of a run of elbow bench")), "{stderr}");
    }
}
