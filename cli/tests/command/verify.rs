//! `elbow verify` and `elbow sweep`.

use serde_json::Value;

use crate::harness::Folder;

#[test]
fn a_quick_run_is_all_right_and_says_so_in_json() {
    let folder = Folder::new("verify");
    let output = folder.elbow(&["verify", "--quick", "--format", "json"]);
    let text = String::from_utf8_lossy(&output.stdout);
    let report: Value = serde_json::from_str(&text).expect("JSON on stdout");
    assert!(output.status.success() && report["right"] == true, "{text}");
    let groups = report["groups"].as_array().expect("groups");
    assert_eq!(groups.len(), 8, "{text}");
    assert!(groups.iter().all(|g| g["checks"].as_u64() > Some(0) && g["failed"] == 0), "{text}");
    let subnormals = report["subnormals"].as_str().unwrap_or_default();
    assert!(subnormals == "kept" || subnormals.starts_with("flushed to zero"), "{text}");
    assert!(report["adapter"].as_str().is_some_and(|name| !name.is_empty()), "{text}");
}

#[test]
fn one_case_can_be_run_again() {
    let folder = Folder::new("case");
    for case in [
        "m=3 n=5 k=7 activation=prelu saved=mask layout=in_out dw=add tile=3 splits=2 misalign=1 data=integers seed=9",
        "activation:relu",
        "bits:relu",
        "special:relu",
        "loss: BinaryCrossEntropy 34x8 Weighted",
        "loss: SoftmaxCrossEntropy 19x10 WeightedAndSmoothed",
        "update: AdamW 129 at 4 factors copy=bf16",
    ] {
        let output = folder.elbow(&["verify", "--case", case]);
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("all right"), "{case}: {text}");
    }
    for (case, says) in [
        ("m=3 n=x", "a number"),
        ("nonsense", "key=value"),
        ("activation:rleu", "rleu"),
        ("loss: none", "name of a loss"),
    ] {
        let output = folder.elbow(&["verify", "--case", case]);
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && text.contains(says), "{case}: {text}");
    }
    // Too large to be anything but a slip; refused, not tried.
    let output = folder.elbow(&["verify", "--case", "m=4000000000 n=4000000000 k=1 activation=relu saved=z"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}

#[test]
fn a_sweep_prints_worst_and_spread() {
    let folder = Folder::new("sweep");
    let output = folder.elbow(&["sweep", "--stride", "1000003", "--format", "md", "relu", "gelu"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("| relu act | 0.00 | 0 |") && text.contains("gelu_erf act_dzz"), "{text}");
    let output = folder.elbow(&["sweep", "--stride", "1000003", "--format", "json", "tanh"]);
    let text = String::from_utf8_lossy(&output.stdout);
    let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    assert_eq!(rows.len(), 4, "{text}");
    let inputs = |row: &Value| row["histogram"].as_array().map(|h| h.iter().filter_map(Value::as_u64).sum::<u64>());
    assert!(rows.iter().all(|row| inputs(row) == Some(4295) && row["beyond"] == 0), "{text}");
}
