//! `elbow train` and `elbow predict`: real tables, every kind of mistake in a table, an interrupt.

use std::{fmt::Write as _, fs, path::PathBuf, process::Output};

use elbow::mlp::Description;

use crate::harness::{Folder, Numbers};

/// A table of the examples.
fn example(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../examples/data").join(name);
    path.to_string_lossy().into_owned()
}

fn said(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// `elbow ARGS`, which must succeed; its stdout.
pub(crate) fn run(folder: &Folder, args: &[&str]) -> String {
    let output = folder.elbow(args);
    assert!(output.status.success(), "{args:?}: {}", said(&output.stderr));
    said(&output.stdout)
}

pub(crate) fn check_refused(output: &Output, args: &[&str], parts: &[&str]) {
    let said = said(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
    assert_eq!(said.trim_end().lines().count(), 1, "{args:?}: one line, got: {said}");
    parts.iter().for_each(|part| assert!(said.contains(part), "{args:?}: {part:?} is missing in: {said}"));
}

/// What is in the folder, but for what drivers keep there.
pub(crate) fn files(folder: &Folder) -> Vec<String> {
    folder.names().into_iter().filter(|name| name != "cache").collect()
}

/// The number behind a word.
pub(crate) fn figure(text: &str, before: &str) -> f64 {
    let rest = text.split_once(before).map(|(_, rest)| rest.trim_start()).expect("the words before a number");
    rest.split([' ', ',', '%']).next().and_then(|word| word.parse().ok()).expect("a number")
}

#[test]
fn a_number_is_learned_and_predicted_the_same_on_every_device() {
    let folder = Folder::new("train-wine");
    let data = example("winequality-red.csv.gz");
    let args = ["train", &data, "--target", "quality", "--task", "regression", "--hidden", "32,32", "--epochs", "12"];
    let says = run(&folder, &args);
    for part in [
        "1599 rows; 11 columns of numbers",
        "quality, regression (as asked)",
        "11 > 32 > 32 > 1, silu",
        "elbow predict model",
    ] {
        assert!(says.contains(part), "{part:?} is missing in {says}");
    }
    assert!(figure(&says, "R² ") > 0.2, "{says}");
    assert_eq!(files(&folder), ["model.checkpoint.safetensors", "model.html", "model.safetensors"]);
    let page = fs::read_to_string(folder.path("model.html")).expect("a page");
    for part in ["<svg", "Losses", "Residuals", "volatile acidity", "Hidden layers", "</html>"] {
        assert!(page.contains(part), "{part:?} is missing in the page");
    }
    assert!(!page.contains("NaN") && !page.contains("http"), "the page loads nothing and shows numbers");

    // The same again is the same file; another seed is not.
    let again = [&args[..], &["--output", "again.safetensors"]].concat();
    run(&folder, &again);
    let [first, second] =
        ["model.safetensors", "again.safetensors"].map(|f| fs::read(folder.path(f)).expect("a model"));
    assert!(first == second, "the same data and seed gave another network");
    run(&folder, &[&args[..], &["--output", "other.safetensors", "--seed", "2"]].concat());
    assert!(fs::read(folder.path("other.safetensors")).expect("a model") != first);
    assert_eq!(Description::read(&first).expect("a network of elbow's").sizes, [11, 32, 32, 1]);

    let rows = |device: &str| -> Vec<csv::StringRecord> {
        let text = run(&folder, &["predict", "model.safetensors", &data, "--device", device]);
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        assert_eq!(reader.headers().expect("names").iter().next_back(), Some("quality_predicted"));
        reader.records().collect::<Result<_, _>>().expect("a table")
    };
    let number = |row: &csv::StringRecord, column: usize| row[column].parse::<f64>().expect("a number");
    let reference = rows("reference");
    assert_eq!(reference.len(), 1599);
    for device in ["gpu", "cpu"] {
        for (got, expected) in rows(device).iter().zip(&reference) {
            assert!((number(got, 12) - number(expected, 12)).abs() < 1e-4, "{device}: {got:?}, {expected:?}");
        }
    }
    let error = reference.iter().map(|row| (number(row, 11) - number(row, 12)).powi(2)).sum::<f64>() / 1599.0;
    assert!(error < 0.5, "predictions in the units of the target: {error}");
}

#[test]
fn classes_are_learned_without_a_header_and_slopes_are_shown() {
    let folder = Folder::new("train-digits");
    let data = example("digits.csv.gz");
    let says = run(
        &folder,
        &[
            "train",
            &data,
            "--no-header",
            "--target",
            "65",
            "--activation",
            "prelu",
            "--epochs",
            "8",
            "--report",
            "page.html",
        ],
    );
    assert!(figure(&says, "accuracy ") > 94.0, "{says}");
    assert!(says.contains("classification (few whole numbers") && says.contains("10 classes"), "{says}");
    assert!(says.contains("left out   1, "), "columns that are 0 everywhere: {says}");
    let page = fs::read_to_string(folder.path("page.html")).expect("a page");
    for part in ["Confusion matrix", "recall", "learned slopes"] {
        assert!(page.contains(part), "{part:?} is missing in the page");
    }
    let text = run(&folder, &["predict", "model.safetensors", &data, "--no-header", "--device", "cpu"]);
    let right = text.lines().filter(|line| {
        let fields: Vec<&str> = line.split(',').collect();
        assert_eq!(fields.len(), 67, "64 pixels, the label, its prediction, its probability");
        assert!((0.1..=1.0).contains(&fields[66].parse::<f64>().expect("a probability")));
        fields[64] == fields[65]
    });
    assert!(right.count() > 1700);
    let args = ["predict", "model.safetensors", &data];
    check_refused(&folder.elbow(&args), &args, &["(a file without: --no-header)"]);
}

/// The best epoch is what is kept, and what the figures are of: as if training had ended with it.
#[test]
fn the_best_epoch_is_kept() {
    let folder = Folder::new("train-best");
    let data = example("winequality-red.csv.gz");
    let test = |epochs: usize| {
        let epochs = epochs.to_string();
        let args =
            ["train", &data, "--target", "quality", "--task", "regression", "--rate", "0.01", "--epochs", &epochs];
        let says = run(&folder, &args);
        let test = says.lines().find(|line| line.starts_with("test")).expect("figures").to_owned();
        (figure(&says, "; epoch ") as usize, test, fs::read(folder.path("model.safetensors")).expect("a model"))
    };
    let (best, figures, model) = test(14);
    assert!(best < 14, "no epoch was worse than the one before");
    let (last, same_figures, same_model) = test(best);
    assert_eq!((last, same_figures), (best, figures));
    assert!(model == same_model, "another network than that of epoch {best}");
}

/// One step an epoch: a step that is left out is an epoch in which nothing is learned.
#[test]
fn every_step_of_an_epoch_is_taken() {
    let folder = Folder::new("train-steps");
    fs::write(folder.path("t.csv"), made(100)).expect("a table");
    let base =
        ["train", "t.csv", "--target", "y", "--ignore", "id", "--hidden", "16", "--rate", "0.02", "--epochs", "100"];
    let says = run(&folder, &[&base[..], &["--batch", "70"]].concat());
    assert!(says.contains("70 rows a step") && figure(&says, "R² ") > 0.9, "{says}");
}

/// y = 2 a + (3 if b is yes), with a column that never changes, one of texts, and one of names.
pub(crate) fn made(rows: usize) -> String {
    let mut numbers = Numbers(9);
    let mut text = "a,b,same,id,y\n".to_owned();
    for row in 0..rows {
        let (a, yes) = (numbers.next(), numbers.next() > 0.0);
        let y = 2.0 * a + if yes { 3.0 } else { 0.0 };
        let _ = writeln!(text, "{a},{},7,name {row},{y}", if yes { "yes" } else { "no" });
    }
    text
}

#[test]
fn texts_and_missing_values() {
    let folder = Folder::new("train-texts");
    let table = made(300);
    fs::write(folder.path("t.csv"), &table).expect("a table");
    let base = ["train", "t.csv", "--target", "y", "--epochs", "60", "--hidden", "16", "--rate", "0.01"];
    let args = [&base[..], &["--ignore", "id"]].concat();
    let says = run(&folder, &args);
    assert!(
        says.contains("1 columns of numbers, 1 of texts") && says.contains("same: the same in every row"),
        "{says}"
    );
    assert!(figure(&says, "R² ") > 0.95, "{says}");
    check_refused(
        &folder.elbow(&base),
        &base,
        &["t.csv column id: expected numbers, or at most 64 different texts", "300 texts"],
    );

    // A text that training has not seen, and a missing value: errors with their places.
    fs::write(folder.path("new.csv"), "b,a\nyes,0.5\nmaybe,1\n").expect("a table");
    let predict = ["predict", "model.safetensors", "new.csv", "--device", "cpu"];
    check_refused(
        &folder.elbow(&predict),
        &predict,
        &["new.csv line 3, column b: expected one of no, yes", "\"maybe\""],
    );
    fs::write(folder.path("new.csv"), "b,a\nyes,0.5\nno,\n").expect("a table");
    check_refused(&folder.elbow(&predict), &predict, &["new.csv line 3, column a: expected a value", "got nothing"]);
    fs::write(folder.path("new.csv"), "b,a\nyes,0.5\nno,many\n").expect("a table");
    check_refused(
        &folder.elbow(&predict),
        &predict,
        &["new.csv line 3, column a: expected a finite number", "\"many\""],
    );
    fs::write(folder.path("new.csv"), "b,c\nyes,0.5\n").expect("a table");
    check_refused(&folder.elbow(&predict), &predict, &["new.csv: expected a column \"a\", got b, c"]);
    // Columns in another order, others between them, no target.
    fs::write(folder.path("new.csv"), "b,other,a\nyes,\"x,y\",0.5\nno,z,0.5\n").expect("a table");
    let text = run(&folder, &predict);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "b,other,a,y_predicted");
    assert!(lines[1].starts_with("yes,\"x,y\",0.5,") && lines.len() == 3, "{text}");
    let y = |line: &str| line.rsplit(',').next().and_then(|y| y.parse::<f64>().ok()).expect("a number");
    assert!((y(lines[1]) - 4.0).abs() < 0.5 && (y(lines[2]) - 1.0).abs() < 0.5, "{text}");

    // Missing values, in a feature and in the target.
    let mut rows: Vec<String> = table.lines().map(str::to_owned).collect();
    let fields: Vec<String> = rows[20].split(',').map(str::to_owned).collect();
    rows[20] = format!("NA,{}", fields[1..].join(","));
    rows[30] = format!("{}?", &rows[30][..rows[30].rfind(',').expect("a comma") + 1]);
    fs::write(folder.path("t.csv"), rows.join("\n")).expect("a table");
    check_refused(&folder.elbow(&args), &args, &["t.csv line 31, column y: expected a value of the target", "\"?\""]);
    rows[30] = rows[29].clone();
    fs::write(folder.path("t.csv"), rows.join("\n")).expect("a table");
    check_refused(&folder.elbow(&args), &args, &["t.csv line 21, column a: expected a value", "\"NA\"", "--missing"]);
    let says = run(&folder, &[&args[..], &["--missing", "drop"]].concat());
    assert!(says.contains("1 rows with missing values left out"), "{says}");
    let says = run(&folder, &[&args[..], &["--missing", "mean"]].concat());
    assert!(!says.contains("left out;") && figure(&says, "R² ") > 0.9, "{says}");
    fs::write(folder.path("new.csv"), "b,a\nyes,NA\nmaybe,0.5\n").expect("a table");
    assert_eq!(run(&folder, &predict).lines().count(), 3, "a network that was trained with --missing mean");
}

#[test]
fn mistakes_in_tables_and_words() {
    let folder = Folder::new("train-mistakes");
    let check = |table: &str, more: &[&str], parts: &[&str]| {
        fs::write(folder.path("t.csv"), table).expect("a table");
        let args = [&["train", "t.csv"], more].concat();
        check_refused(&folder.elbow(&args), &args, parts);
        assert_eq!(files(&folder), ["t.csv"], "{more:?}: nothing else may be left");
    };
    let y = &["--target", "y"][..];
    let rows = |row: &dyn Fn(usize) -> String| -> String {
        format!("a,y\n{}", (0..40).map(|i| format!("{}\n", row(i))).collect::<String>())
    };
    check("", y, &["t.csv: expected a table, got an empty file"]);
    check("a,y\n", y, &["expected rows behind the names of columns, got none"]);
    check("a,y\n1,2\n1,2,3\n", y, &["t.csv line 3: expected 2 values, as in the first line, got 3"]);
    check("a,y\n1,2\n", &["--target", "price"], &["t.csv: expected a column \"price\", got a, y"]);
    check("a;y\n1;2\n", y, &["expected a column \"y\"", "--delimiter ';'"]);
    check("a,y\n1,2\n2,3\n", y, &["expected at least 10 rows", "got 2"]);
    check(
        &rows(&|i| format!("{i},same")),
        y,
        &["y: expected a target of at least two classes", "\"same\" in every row"],
    );
    check(&rows(&|i| format!("{i},5")), y, &["y: expected a target of at least two classes", "\"5\" in every row"]);
    check(&rows(&|i| format!("{i},5.5")), y, &["y: expected a target of at least two different numbers"]);
    check(&rows(&|i| format!("1,{}", i % 3)), y, &["a column to learn from that is not the same in every row"]);
    check(
        &rows(&|i| if i == 7 { "x,1.5".into() } else { format!("{i},{i}.5") }),
        y,
        &["t.csv line 9, column a: expected a finite number", "\"x\""],
    );
    check(
        &rows(&|i| if i == 7 { "inf,1.5".into() } else { format!("{i},{i}.5") }),
        y,
        &["t.csv line 9, column a: expected a finite number", "\"inf\""],
    );
    check(
        &rows(&|i| format!("{i},{}", if i == 7 { "much".into() } else { format!("{i}.5") })),
        &["--target", "y", "--task", "regression"],
        &["t.csv line 9, column y: expected a finite number", "\"much\""],
    );
    check(&rows(&|i| format!("{i},{i}")), &["--target", "y", "--ignore", "b"], &["expected a column \"b\""]);
    check(&rows(&|i| format!("{i},{i}")), &["--target", "y", "--rate", "NaN"], &["rate: expected a finite number"]);
    check(&rows(&|i| format!("{i},{i}")), &["--target", "y", "--activation", "relux"], &["relux", "expected"]);
    check(&rows(&|i| format!("{i},{i}")), &["--target", "y", "--hidden", "0"], &["--hidden"]);
    check(
        &rows(&|i| format!("{i},{i}")),
        &["--target", "y", "--report", "model.safetensors"],
        &["--report: expected another file"],
    );
    check(&rows(&|i| format!("{i},{i}")), &["--target", "y", "--output", "none/m"], &["none/m: expected a place"]);
    check(
        &rows(&|i| format!("{i},{i}.5")),
        &["--target", "y", "--rate", "1e30"],
        &["loss: expected a finite number", "--rate"],
    );
    let args = ["train", "none.csv", "--target", "y"];
    check_refused(&folder.elbow(&args), &args, &["none.csv: expected a readable file"]);
    let gz = [0x1f, 0x8b, 8, 0, 1, 2, 3];
    fs::write(folder.path("t.csv"), gz).expect("a file");
    let args = ["train", "t.csv", "--target", "y"];
    check_refused(&folder.elbow(&args), &args, &["t.csv: expected a gzip file"]);
}

#[test]
fn a_file_that_is_no_trained_network_predicts_nothing() {
    let folder = Folder::new("predict-mistakes");
    fs::write(folder.path("t.csv"), made(40)).expect("a table");
    let made = ["train", "t.csv", "--target", "y", "--ignore", "id", "--epochs", "2", "--hidden", "4"];
    run(&folder, &made);
    let good = fs::read(folder.path("model.safetensors")).expect("a model");
    let args = ["predict", "model.safetensors", "t.csv", "--device", "cpu"];
    let check = |bytes: &[u8], parts: &[&str]| {
        fs::write(folder.path("model.safetensors"), bytes).expect("a file");
        check_refused(&folder.elbow(&args), &args, parts);
    };
    let changed = |from: &str, to: &str| -> Vec<u8> {
        let header = 8 + u64::from_le_bytes(*good.first_chunk().expect("a length")) as usize;
        let text = said(&good[8..header]).replace(from, to);
        [&(text.len() as u64).to_le_bytes()[..], text.as_bytes(), &good[header..]].concat()
    };
    check(b"no model", &["expected a safetensors file, got a damaged one"]);
    check(&good[..good.len() - 4], &["expected a safetensors file, got a damaged one"]);
    check(
        &changed("train.columns", "train.other"),
        &["expected a network of elbow train, got one without its columns"],
    );
    check(&changed("\\\"a\\\"", "\\\"c\\\""), &["t.csv: expected a column \"c\""]);
    check(&changed("\\\"deviation\\\":", "\\\"deviation\\\":-"), &["a damaged one (train.columns: a deviation"]);
    check(
        &changed("\\\"no\\\",", ""),
        &["a damaged one (train.columns: columns of 2 inputs and 1 outputs beside a network of 3 and 1"],
    );
    check(&changed("elbow.sizes", "elbow.other"), &["elbow.sizes"]);
    check(&changed("3,4,1", "3,5,1"), &["0.weight", "[5, 3]"]);
    fs::write(folder.path("model.safetensors"), &good).expect("a file");
    run(&folder, &args);
    // Its layers are in its metadata: elbow eval needs no names.
    let x = Numbers(3).tensors(&[("x", &[2, 3])]);
    fs::write(folder.path("x.safetensors"), crate::harness::file(&x)).expect("a file");
    run(&folder, &["eval", "model.safetensors", "x.safetensors", "y.safetensors"]);
}

/// Ctrl-C ends a training of many epochs: the best network so far is written, and the exit code is that of an interrupt.
#[cfg(unix)]
#[test]
fn an_interrupt_keeps_the_best_network_so_far() {
    use std::{
        io::BufRead as _,
        process::{Command, Stdio},
        time::Duration,
    };

    let folder = Folder::new("train-interrupt");
    fs::write(folder.path("t.csv"), made(400)).expect("a table");
    // How long an epoch takes is the machine's.
    let rest = [4, 16, 64].into_iter().find_map(|seconds| {
        let mut child = Command::new(env!("CARGO_BIN_EXE_elbow"))
            .args(["train", "t.csv", "--target", "y", "--ignore", "id", "--epochs", "1000000", "--patience", "1000000"])
            .current_dir(&folder.0)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("elbow starts");
        let stdout = std::io::BufReader::new(child.stdout.take().expect("its stdout"));
        let mut lines = stdout.lines().map_while(Result::ok);
        assert!(lines.any(|line| line.starts_with("device")), "it says what it does before it does it");
        std::thread::sleep(Duration::from_secs(seconds));
        let id = child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &id]).status().expect("kill").success());
        let rest: Vec<String> = lines.collect();
        match child.wait().expect("it ends").code() {
            Some(130) => Some(rest),
            // Before the first epoch was over: nothing is there, and nothing is written.
            Some(2) if files(&folder) == ["t.csv"] => None,
            other => panic!("{other:?}: {rest:?}"),
        }
    });
    let rest = rest.expect("an epoch in a minute");
    let rest = rest.join("\n");
    assert!(rest.contains("(interrupted)") && rest.contains("model.safetensors and model.html"), "{rest}");
    let all = ["model.checkpoint.safetensors", "model.html", "model.safetensors", "t.csv"];
    assert_eq!(files(&folder), all, "no temporary file is left");
    assert!(figure(&rest, "R² ") > 0.5, "{rest}");
    run(&folder, &["predict", "model.safetensors", "t.csv", "--device", "cpu"]);
}
