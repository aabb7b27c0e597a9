//! `elbow bench` of a whole network, and `elbow compare`.

use serde_json::Value;

use elbow::Float;

use crate::harness::{Folder, Numbers, Tensors, file, file_as};

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

#[test]
fn every_kind_of_network_is_verified_and_timed_as_what_it_is() {
    let folder = Folder::new("network-kinds");
    // Sizes 5-24-24-3: 5·24 + 24·24 + 24·3 weights and 51 biases.
    const PLAIN: u64 = 120 + 576 + 72 + 51;
    for (args, name, alpha, dtype, learned) in [
        (&["--dtype", "f16"][..], "5-24-24-3, relu, f16", "constant", "f16", 0),
        (&["--dtype", "bf16", "--activation", "gelu"], "5-24-24-3, gelu_erf, bf16", "constant", "bf16", 0),
        (&["--activation", "prelu"], "5-24-24-3, prelu(0.25), α learned by channel", "channel", "f32", 48),
        (&["--activation", "prelu", "--alpha", "constant"], "5-24-24-3, prelu(0.25)", "constant", "f32", 0),
        (
            &["--activation", "swish", "--alpha", "layer", "--loss", "cross_entropy"],
            "5-24-24-3, swish(1), α learned by layer",
            "layer",
            "f32",
            2,
        ),
        (&["--activation", "gelu,relu"], "5-24-24-3, gelu_erf,relu", "constant", "f32", 0),
        (
            &["--activation", "tanh,prelu,softplus", "--alpha", "channel", "--dtype", "f16", "--loss", "huber"],
            "5-24-24-3, tanh,prelu(0.25),softplus(1), α learned by channel, f16",
            "channel",
            "f16",
            27,
        ),
    ] {
        let results = bench(&folder, &[&["--mlp", "5,24,24,3", "--batches", "310"], args].concat());
        let network = &results["network"];
        let said = [&network["name"], &network["alpha"], &results["dtype"]].map(|said| said.as_str().unwrap_or("?"));
        assert_eq!(said, [name, alpha, dtype], "{args:?}");
        assert_eq!(network["weights"], PLAIN + learned, "{args:?}");
        for at in network["batches"].as_array().expect("batches") {
            let shares = at["of_bound"].as_array().expect("errors");
            assert!(shares.iter().all(|share| (1e-9..1.0).contains(&share.as_f64().unwrap_or(9.0))), "{args:?}: {at}");
        }
        let units = |of: &Value| of["alpha"].as_str().unwrap_or("?").to_owned();
        let layers: Vec<String> = results["layers"].as_array().expect("layers").iter().map(units).collect();
        assert_eq!(
            layers.iter().any(|unit| unit == alpha),
            alpha != "constant" || learned == 0,
            "{args:?}: {layers:?}"
        );
        let targets = if network["loss"] == "cross_entropy" { 1 } else { 3 };
        footprint_is_whole(&results["memory"][0], dtype, targets);
    }
}

/// Gradients of one row are beyond f16 at the first loss scales: the step that is verified and timed is one that counts.
#[test]
fn a_loss_scale_settles_before_anything_is_timed() {
    let folder = Folder::new("network-scale");
    let args = ["--mlp", "4,8,1", "--activation", "silu", "--dtype", "f16", "--batches", "1"];
    let at = &bench(&folder, &args)["network"]["batches"][0];
    assert!(
        at["of_bound"][0].as_f64() < Some(1.0) && at["training"]["gpu_wall"]["median"].as_f64() > Some(0.0),
        "{at}"
    );
}

/// The parts are all bytes, and parameters those of the layout: each part padded to 128 numbers.
fn footprint_is_whole(footprint: &Value, dtype: &str, targets: u64) {
    let bytes = |name: &str| footprint[name].as_u64().unwrap_or_default();
    let parts =
        ["parameters", "copy", "gradients", "optimiser", "outputs", "kept", "dz", "batch_bytes", "scratch"].map(bytes);
    assert!(bytes("total").abs_diff(parts.iter().sum()) < 16, "{footprint}");
    let [of_one, copied] = if dtype == "f32" { [4, 0] } else { [2, 2] };
    assert_eq!(bytes("outputs"), 310 * (24 + 24 + 3) * of_one, "{footprint}");
    assert_eq!(bytes("batch_bytes"), 310 * (5 * of_one + 4 * targets + 4), "{footprint}");
    assert_eq!(bytes("copy") / 128, bytes("parameters") / 4 * copied / 128, "{footprint}");
    // AdamW has two means, and four factors for each run of 128.
    assert_eq!(bytes("optimiser"), 2 * bytes("parameters") + bytes("parameters") / 32 + 48, "{footprint}");
    assert_eq!(bytes("parameters") % 512, 0, "{footprint}");
}

#[test]
fn a_table_and_a_page_say_what_is_not_usual() {
    let folder = Folder::new("network-says");
    let args =
        ["--mlp", "5,16,16,3", "--activation", "prelu,gelu", "--alpha", "channel", "--dtype", "f16", "--batches", "9"];
    let output = folder.elbow(&[&["bench", "--quick", "--elements", "64", "--report", "out.html"][..], &args].concat());
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let page = std::fs::read_to_string(folder.path("out.html")).expect("the page");
    for said in ["5-16-16-3, prelu(0.25),gelu_erf, α learned by channel, f16", "prelu(0.25), α by channel", "in f32"]
    {
        assert!(text.contains(said) && page.contains(said), "{said}: {text}");
    }
    // Runs of another type or another α have another network, and no figures in common with it.
    let run = |args: &[&str], name: &str| {
        let results = bench(&folder, &[&["--mlp", "5,16,3", "--batches", "9"], args].concat());
        std::fs::write(folder.path(name), results.to_string()).expect("a file");
    };
    run(&["--activation", "swish"], "old.json");
    run(&["--activation", "swish", "--alpha", "layer"], "new.json");
    let output = folder.elbow(&["compare", "old.json", "new.json"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        text.contains("not alike: network: 5-16-3, swish(1), mse before, 5-16-3, swish(1), α learned by layer"),
        "{text}"
    );
    assert!(!text.contains("training, batch 9"), "{text}");
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

/// A model with PReLUs behind its first two layers, of these shapes.
fn with_slopes(slopes: [&[usize]; 2]) -> Tensors {
    let mut tensors = Numbers(4).tensors(&[
        ("0.weight", &[8, 3]),
        ("0.bias", &[8]),
        ("2.weight", &[6, 8]),
        ("2.bias", &[6]),
        ("4.weight", &[2, 6]),
        ("4.bias", &[2]),
    ]);
    for (name, shape) in ["1.weight", "3.weight"].into_iter().zip(slopes) {
        let values = (0..shape.iter().product()).map(|i| 0.1 + 0.05 * i as f32).collect();
        tensors.insert(name.to_owned(), (shape.to_vec(), values));
    }
    tensors
}

#[test]
fn a_file_says_slopes_and_types() {
    let folder = Folder::new("network-slopes");
    let run = |bytes: Vec<u8>, args: &[&str]| {
        std::fs::write(folder.path("model.safetensors"), bytes).expect("a file");
        let results = bench(&folder, &[&["--model", "model.safetensors", "--batches", "7"], args].concat());
        let name = results["network"]["name"].as_str().unwrap_or("?").to_owned();
        (name, results["network"]["weights"].as_u64())
    };
    let (plain, all) = (8 * 4 + 6 * 9 + 2 * 7, "3-8-6-2, prelu(0.25), α learned by");
    let (one, each) = (file(&with_slopes([&[1], &[1]])), file(&with_slopes([&[8], &[6]])));
    assert_eq!(run(one, &[]), (format!("{all} layer"), Some(plain + 2)));
    assert_eq!(run(each.clone(), &[]), (format!("{all} channel"), Some(plain + 14)));
    assert_eq!(
        run(each.clone(), &["--activation", "swish,elu", "--alpha", "channel"]).0,
        "3-8-6-2, swish(1),elu(1), α learned by channel"
    );
    // All in 16 bits, slopes too; weights alone; or as it is asked for.
    assert_eq!(run(file_as(&with_slopes([&[8], &[6]]), |_| Float::F16), &[]).0, format!("{all} channel, f16"));
    let weights = |name: &str| if name.len() == 8 && !"13".contains(&name[..1]) { Float::Bf16 } else { Float::F32 };
    assert_eq!(run(file_as(&with_slopes([&[8], &[6]]), weights), &[]).0, format!("{all} channel, bf16"));
    assert_eq!(run(each, &["--dtype", "f16"]).0, format!("{all} channel, f16"));
    // A slope that no file has, and other modules.
    let modules = ["--modules", "up,down", "--activation", "swish", "--alpha", "layer"];
    assert_eq!(run(file(&model(["up", "down"])), &modules).0, "3-8-2, swish(1), α learned by layer");
}

/// What elbow has trained says its layers, its loss and its types itself.
#[test]
fn a_file_of_elbows_own_needs_no_options() {
    let folder = Folder::new("network-trained");
    let rows: String = (0..60).map(|i| format!("{i},{},{}\n", 3 * i + 1, if i % 3 == 0 { "a" } else { "b" })).collect();
    std::fs::write(folder.path("data.csv"), format!("x,y,kind\n{rows}")).expect("a table");
    let train = ["train", "data.csv", "--target", "kind", "--hidden", "8,6", "--activation", "gelu", "--epochs", "2"];
    let output = folder.elbow(&train);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let results = bench(&folder, &["--model", "model.safetensors", "--batches", "7"]);
    let network = &results["network"];
    assert!(network["name"].as_str().is_some_and(|name| name.ends_with("8-6-2, gelu_erf")), "{network}");
    assert_eq!(network["loss"], "cross_entropy");
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
        ("slope", with("1.weight", &[3]), "1.weight: expected [1] or [8], got [3]"),
        ("mixed", file(&with_slopes([&[1], &[6]])), "3.weight: expected one number for each layer, as 1.weight has"),
        (
            "types",
            file_as(&model(["0", "2"]), |name| if name == "2.weight" { Float::F16 } else { Float::F32 }),
            "2.weight: expected f32, as 0.weight (--dtype makes all of one type), got f16",
        ),
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
    std::fs::write(folder.path("whole"), file(&model(["0", "2"]))).expect("a file");
    let mut half = with_slopes([&[1], &[1]]);
    half.remove("3.weight");
    std::fs::write(folder.path("half"), file(&half)).expect("a file");
    let mut poisoned = with_slopes([&[1], &[1]]);
    poisoned.insert("3.weight".into(), (vec![1], vec![f32::NAN]));
    std::fs::write(folder.path("poisoned"), file(&poisoned)).expect("a file");
    for (args, says) in [
        (&["--mlp", "8"][..], "expected two sizes or more"),
        (&["--mlp", "8,0,1"], "0"),
        (&["--mlp", "8,2", "--loss", "ms"], "expected mse, huber, bce, cross_entropy"),
        (&["--mlp", "8,2", "--shapes", "1x1x1"], "--shapes"),
        (&["--mlp", "8,2", "--dtype", "f64"], "f64"),
        (&["--mlp", "8,2,2", "--alpha", "channel"], "--alpha: expected an activation with a learnable parameter"),
        (&["--mlp", "8,2,2", "--alpha", "row"], "row"),
        (&["--mlp", "8,2,2", "--activation", "rleu"], "rleu"),
        (
            &["--mlp", "8,2,2,1", "--activation", "relu,relu,relu,relu"],
            "2 for one each, or 3 with that of the last layer, got 4",
        ),
        (&["--mlp", "8,2,2,1", "--activation", "prelu,swish"], "--alpha: expected constant, layer or channel, because"),
        (&["--alpha", "layer"], "--alpha: expected a network"),
        (&["--activation", "gelu", "--quick"], "--activation: expected a network (--mlp or --model), got none"),
        (&["--loss", "bce"], "--loss: expected a network"),
        (&["--modules", "up"], "--model"),
        (&["--model", "lacking", "--activation", "prelu"], "2.bias"),
        (
            &["--model", "mixed", "--activation", "relu"],
            "layer 0: alpha: expected no weight of one dimension behind it, because relu",
        ),
        (&["--model", "whole", "--activation", "prelu"], "layer 0: alpha: expected the weight of a PReLU behind it"),
        (
            &["--model", "half", "--activation", "prelu,swish"],
            "layer 2: alpha of swish(1): expected a tensor, as 1.weight is one",
        ),
        // The slopes of the file are those that run.
        (&["--model", "poisoned", "--batches", "5"], "is NaN, the reference has NaN; not timed"),
        (&["--model", "half", "--alpha", "channel"], "--alpha: expected layer, as 1.weight has it, got channel"),
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
