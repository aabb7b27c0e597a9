//! `elbow train --resume`: with a break or without, the files are the same; what contradicts a checkpoint is refused by name.

use std::{fmt::Write as _, fs};

use elbow::mlp::{Description, noted_tensors};

use crate::{
    harness::{Folder, Numbers},
    train::{check_refused, figure, files, made, run},
};

const CHECKPOINT: &str = "model.checkpoint.safetensors";
const BASE: [&str; 8] = ["train", "t.csv", "--target", "y", "--ignore", "id", "--hidden", "8"];

fn folder(name: &str) -> Folder {
    let folder = Folder::new(name);
    fs::write(folder.path("t.csv"), made(120)).expect("a table");
    folder
}

fn read(folder: &Folder, file: &str) -> Vec<u8> {
    assert!(folder.path(file).exists(), "{file} is missing");
    fs::read(folder.path(file)).expect("a file")
}

/// Network, page and checkpoint of both folders are the same.
fn same(one: &Folder, other: &Folder, what: &str) {
    for file in ["model.safetensors", "model.html", CHECKPOINT] {
        assert!(read(one, file) == read(other, file), "{what}: {file} is another one");
    }
}

/// Lines of the result, without those that say how it came about.
fn result(says: &str) -> Vec<&str> {
    says.lines().filter(|line| !line.starts_with("resumed")).collect()
}

#[test]
fn a_break_makes_no_difference() {
    for (name, more) in [
        ("numbers", &["--rate", "0.02"][..]),
        ("slopes", &["--activation", "prelu", "--rate", "0.02", "--batch", "17"]),
        // The learning rate is halved, and training is over before its epochs are.
        ("patience", &["--rate", "0.5", "--patience", "4", "--seed", "4"]),
        ("classes", &["--target", "b", "--task", "classification", "--ignore", "y", "--rate", "0.02"]),
    ] {
        let (whole, broken) = (folder(&format!("resume-whole-{name}")), folder(&format!("resume-broken-{name}")));
        let base: Vec<&str> = match name {
            "classes" => [&["train", "t.csv", "--hidden", "8", "--ignore", "id"], more].concat(),
            _ => [&BASE[..], more].concat(),
        };
        let says = run(&whole, &[&base[..], &["--epochs", "24"]].concat());
        let done = figure(&says, "training   ") as usize;
        assert_eq!(done < 24, name == "patience", "{says}");
        // Broken once; in one case after each epoch.
        run(&broken, &[&base[..], &["--epochs", "5"]].concat());
        let resumed = run(&broken, &["train", "--resume", CHECKPOINT, "--epochs", "24"]);
        assert!(resumed.contains(&format!("resumed    {CHECKPOINT}, epoch 5")), "{resumed}");
        assert_eq!(result(&says), result(&resumed), "{name}");
        same(&whole, &broken, name);
        if name == "patience" {
            run(&broken, &[&base[..], &["--epochs", "1"]].concat());
            for epochs in 2..=done {
                run(&broken, &["train", "--resume", CHECKPOINT, "--epochs", &epochs.to_string()]);
            }
            run(&broken, &["train", "--resume", CHECKPOINT, "--epochs", "24"]);
            same(&whole, &broken, "after each epoch");
        }
        // Nothing is left to do: the files are written again.
        fs::remove_file(broken.path("model.safetensors")).expect("a model");
        run(&broken, &["train", "--resume", CHECKPOINT]);
        same(&whole, &broken, &format!("{name}, nothing to do"));
    }
}

/// What is printed is the same in every format.
#[test]
fn a_training_is_said_in_every_format() {
    let folder = folder("train-formats");
    let said = |format: &str| run(&folder, &[&BASE[..], &["--epochs", "3", "--format", format]].concat());
    let (text, markdown) = (said("table"), said("md"));
    let lines = text.lines().map(|line| format!("- {}: {}\n", line[..11].trim_end(), &line[11..]));
    assert_eq!(lines.collect::<String>(), markdown);
    let json: serde_json::Value = serde_json::from_str(&said("json")).expect("JSON");
    let test = |name: &str| json["test"][name].as_f64().expect("a number");
    assert!(text.contains(&format!("R² {:.3}", test("r2"))) && test("rmse") > 0.0 && test("mae") > 0.0, "{json:#}");
    assert!(text.contains(&format!("epoch {} is kept", json["best"])), "{json:#}");
    assert_eq!((json["losses"].as_array().map(Vec::len), json["ended"].as_str()), (Some(3), Some("epochs")));
    assert_eq!((&json["sizes"], &json["rows"]), (&[3, 8, 1][..].into(), &[84, 18, 18][..].into()));
    assert_eq!((&json["options"]["target"], &json["options"]["rate"]), (&"y".into(), &"0.002".into()));
    let classes = ["train", "t.csv", "--target", "b", "--ignore", "id,y", "--hidden", "4", "--epochs", "2", "--format"];
    let json: serde_json::Value =
        serde_json::from_str(&run(&folder, &[&classes[..], &["json"]].concat())).expect("JSON");
    let counts =
        json["test"]["confusion"].as_array().expect("rows").iter().flat_map(|row| row.as_array().expect("counts"));
    assert_eq!(counts.filter_map(serde_json::Value::as_u64).sum::<u64>(), 18, "{json:#}");
    assert!((0.0..=1.0).contains(&json["test"]["accuracy"].as_f64().expect("a share")), "{json:#}");
}

/// More patience after training has ended goes on where it ended.
#[test]
fn more_patience_goes_on() {
    let folder = folder("resume-patience");
    let says =
        run(&folder, &[&BASE[..], &["--rate", "0.5", "--patience", "2", "--seed", "1", "--epochs", "40"]].concat());
    let done = figure(&says, "training   ");
    assert!(says.contains("2 epochs without a better") && says.contains("--patience 4"), "{says}");
    let says = run(&folder, &["train", "--resume", CHECKPOINT, "--patience", "4"]);
    assert!(figure(&says, "training   ") >= done + 1.0, "{says}");
}

#[test]
fn checkpoints_go_where_and_when_they_are_asked_for() {
    let folder = folder("resume-places");
    run(
        &folder,
        &[&BASE[..], &["--epochs", "7", "--checkpoint-every", "3", "--checkpoint", "c", "--output", "n"]].concat(),
    );
    assert_eq!(files(&folder), ["c", "n", "n.html", "t.csv"]);
    let epochs = |file: &str| noted_tensors(&read(&folder, file)).expect("tensors")["losses"].0[0];
    assert_eq!(epochs("c"), 7, "the last epoch has one");
    let description = Description::read(&read(&folder, "c")).expect("a network");
    assert!(description.optimiser.is_some() && description.sizes == [3, 8, 1]);
    // The files are those of the checkpoint, if no others are named.
    run(&folder, &["train", "--resume", "c", "--epochs", "8"]);
    assert_eq!((files(&folder), epochs("c")), (["c", "n", "n.html", "t.csv"].map(String::from).to_vec(), 8));
    fs::rename(folder.path("t.csv"), folder.path("moved.csv")).expect("moved");
    let args = ["train", "--resume", "c", "--epochs", "9"];
    check_refused(&folder.elbow(&args), &args, &["t.csv: expected a readable file"]);
    run(&folder, &["train", "moved.csv", "--resume", "c", "--epochs", "9", "--checkpoint", "d", "--output", "m"]);
    assert_eq!(
        (files(&folder), epochs("c"), epochs("d")),
        (["c", "d", "m", "m.html", "moved.csv", "n", "n.html"].map(String::from).to_vec(), 8, 9)
    );
    // A checkpoint is a network too.
    run(&folder, &["predict", "d", "moved.csv", "--device", "cpu"]);
    let args =
        ["train", "moved.csv", "--target", "y", "--ignore", "id", "--hidden", "4", "--epochs", "2", "--no-checkpoint"];
    let says = run(&folder, &[&args[..], &["--output", "without"]].concat());
    assert!(!says.contains("--resume") && !files(&folder).iter().any(|name| name.contains("checkpoint")), "{says}");
}

#[test]
fn what_contradicts_the_checkpoint_is_refused() {
    let folder = folder("resume-mistakes");
    run(&folder, &[&BASE[..], &["--epochs", "3"]].concat());
    let before = read(&folder, CHECKPOINT);
    let check = |more: &[&str], parts: &[&str]| {
        let args = [&["train", "--resume", CHECKPOINT, "--epochs", "4"], more].concat();
        check_refused(&folder.elbow(&args), &args, parts);
        assert!(read(&folder, CHECKPOINT) == before, "{more:?}: the checkpoint was changed");
        assert!(files(&folder).iter().all(|name| !name.starts_with(".elbow")), "{more:?}: {:?}", files(&folder));
    };
    for (option, value, expected) in [
        ("--target", "a", "y"),
        ("--ignore", "b", "id"),
        ("--task", "classification", "none"),
        ("--missing", "drop", "error"),
        ("--delimiter", ";", ","),
        ("--hidden", "8,8", "8"),
        ("--activation", "relu", "silu"),
        ("--batch", "5", "16"),
        ("--rate", "0.01", "0.002"),
        ("--weight-decay", "0", "0.01"),
        ("--seed", "2", "1"),
    ] {
        check(&[option, value], &[&format!("{option}: expected {expected}, as in the checkpoint, got {value}")]);
    }
    check(&["--no-header"], &["--no-header: expected false, as in the checkpoint, got true"]);
    let args = ["train", "--resume", CHECKPOINT, "--epochs", "2"];
    check_refused(&folder.elbow(&args), &args, &["--epochs: expected at least 3, the epochs of the checkpoint, got 2"]);
    check(&["--checkpoint", "model.safetensors"], &["--checkpoint: expected another file than --output"]);
    check(&["--checkpoint", "model.html"], &["--checkpoint: expected another file than --report"]);
    check(&["--checkpoint", "none/c"], &["none/c: expected a place"]);
    check(&["--no-checkpoint", "--checkpoint-every", "2"], &["cannot be used with"]);
    // The same, said again, is no contradiction.
    let again = ["--target", "y", "--ignore", "id", "--rate", "2e-3", "--hidden", "8", "--batch", "16", "--seed", "1"];
    let args = [&["train", "t.csv", "--resume", CHECKPOINT, "--epochs", "3"], &again[..]].concat();
    run(&folder, &args);

    // Other tables: of other columns, other rows, other values.
    let table = made(120);
    let mut numbers = Numbers(3);
    for (what, text, parts) in [
        ("a column less", table.replace("a,b,", "c,b,"), &["columns a, b, y, as in the checkpoint, got c, b, y"][..]),
        ("a row more", made(121), &["the table of the checkpoint, got one of 121 rows, where that has 120"]),
        ("other values", table.replacen("\n-", "\n", 1), &["the table of the checkpoint, got other values"]),
        (
            "another target",
            table.lines().enumerate().fold(String::new(), |mut all, (i, line)| {
                let (rest, y) = line.rsplit_once(',').expect("a table");
                let y = if i == 0 { y.to_owned() } else { numbers.next().to_string() };
                let _ = writeln!(all, "{rest},{y}");
                all
            }),
            &["got other values in column y"],
        ),
        ("no table", "y\n".into(), &["expected rows behind"]),
    ] {
        assert!(text != table, "{what}");
        fs::write(folder.path("other.csv"), text).expect("a table");
        check(&["other.csv"], parts);
        check(&["other.csv"], &["other.csv"]);
    }
    // Rows of different targets are split in the order of these: turned around, they are the same table.
    let mut rows: Vec<&str> = table.lines().collect();
    rows[1..].reverse();
    fs::write(folder.path("other.csv"), rows.join("\n")).expect("a table");
    run(&folder, &["train", "other.csv", "--resume", CHECKPOINT, "--epochs", "4"]);
}

#[test]
fn files_that_are_no_checkpoint_are_refused() {
    let folder = folder("resume-files");
    run(&folder, &[&BASE[..], &["--epochs", "3"]].concat());
    let good = read(&folder, CHECKPOINT);
    let check = |bytes: &[u8], parts: &[&str]| {
        fs::write(folder.path("c"), bytes).expect("a file");
        let args = ["train", "--resume", "c", "--epochs", "4"];
        check_refused(&folder.elbow(&args), &args, parts);
    };
    let args = ["train", "--resume", "none", "--epochs", "4"];
    check_refused(&folder.elbow(&args), &args, &["none: expected a readable file"]);
    check(b"none", &["c: expected a safetensors file, got a damaged one"]);
    check(&good[..good.len() - 4], &["c: expected a safetensors file, got a damaged one"]);
    check(
        &read(&folder, "model.safetensors"),
        &["c: expected a checkpoint of elbow train, got a network without what its training goes on from"],
    );
    let changed = |from: &str, to: &str| -> Vec<u8> {
        let header = 8 + u64::from_le_bytes(*good.first_chunk().expect("a length")) as usize;
        let text = String::from_utf8_lossy(&good[8..header]).replace(from, to);
        assert_ne!(text.as_bytes(), &good[8..header], "{from}");
        [&(text.len() as u64).to_le_bytes()[..], text.as_bytes(), &good[header..]].concat()
    };
    check(&changed("train.state", "train.other"), &["without what its training goes on from"]);
    check(&changed("notes.losses", "notes.lossez"), &["a damaged one (losses of epochs"]);
    check(&changed("[3,2]", "[2,3]"), &["a damaged one (losses of epochs"]);
    check(&changed("notes.best.0.weight", "notes.other.weight"), &["a damaged one", "0.weight"]);
    check(
        &changed("optimiser.second_moment.0.bias", "optimiser.second_momen.0.bias"),
        &["a damaged one", "optimiser."],
    );
    check(&changed("elbow.optimiser", "elbow.optimizer"), &["a damaged one (no optimiser)"]);
    check(&changed("\\\"seed\\\":1", "\\\"seed\\\":-1"), &["a damaged one (invalid value: integer `-1`"]);
    check(&changed("\\\"rate\\\":\\\"0.002\\\"", "\\\"rate\\\":\\\"fast\\\""), &["a damaged one (invalid float"]);
    check(&changed("\\\"hidden\\\":[8]", "\\\"hidden\\\":[9]"), &["network of sizes [3, 9, 1], got [3, 8, 1]"]);
    check(
        &changed("\\\"sum\\\":", "\\\"sum\\\":1"),
        &["c: expected a checkpoint of elbow train, got a damaged one", "train.state"],
    );
    check(
        &changed("\\\"deviation\\\":", "\\\"deviation\\\":9"),
        &["expected the table of the checkpoint, got other values"],
    );
}

/// Killed at any moment, training goes on from the last checkpoint, and its files are those of a training that was left alone.
#[cfg(unix)]
#[test]
fn a_training_that_is_killed_goes_on() {
    use std::{
        process::{Command, Stdio},
        time::{Duration, Instant},
    };

    let (killed, whole) = (folder("resume-killed"), folder("resume-left-alone"));
    for signal in ["-KILL", "-INT"] {
        let _ = fs::remove_file(killed.path(CHECKPOINT));
        let mut child = Command::new(env!("CARGO_BIN_EXE_elbow"))
            .args(BASE)
            .args(["--epochs", "1000000", "--patience", "1000000"])
            .current_dir(&killed.0)
            .env("XDG_CACHE_HOME", killed.path("cache"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("elbow starts");
        let begun = Instant::now();
        while !killed.path(CHECKPOINT).exists() {
            assert!(begun.elapsed() < Duration::from_secs(120), "no checkpoint");
            std::thread::sleep(Duration::from_millis(5));
        }
        std::thread::sleep(Duration::from_millis(300));
        assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().expect("kill").success());
        let code = child.wait().expect("it ends").code();
        assert_eq!(code, if signal == "-INT" { Some(130) } else { None });
        let done = noted_tensors(&read(&killed, CHECKPOINT)).expect("a whole file")["losses"].0[0];
        let epochs = (done + 3).to_string();
        run(&killed, &["train", "--resume", CHECKPOINT, "--epochs", &epochs]);
        run(&whole, &[&BASE[..], &["--epochs", &epochs, "--patience", "1000000"]].concat());
        same(&whole, &killed, signal);
    }
}
