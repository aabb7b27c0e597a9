//! `elbow info`.

use crate::harness::Folder;

#[test]
fn info_names_the_adapter_and_the_limits() {
    let output = Folder::new("info").elbow(&["info"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "no adapter? {}", String::from_utf8_lossy(&output.stderr));
    for part in [
        "adapters that run compute shaders",
        "backend",
        "elbow would use: ",
        "subnormal numbers (below 1.2e-38): ",
        "limits that matter",
        "features",
    ] {
        assert!(text.contains(part), "{part:?} is missing in:\n{text}");
    }
    let table = text.split("\n\n").any(|part| part.starts_with("adapter ") && part.contains("SOFTWARE"));
    assert_eq!(table, text.contains("SOFTWARE adapter"), "said in one place only:\n{text}");
}

#[test]
fn info_is_the_same_in_every_format() {
    let folder = Folder::new("info-formats");
    let said = |format: &str| {
        let output = folder.elbow(&["info", "--format", format]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let json: serde_json::Value = serde_json::from_str(&said("json")).expect("JSON");
    let used = &json["used"];
    let adapters = json["adapters"].as_array().expect("a list");
    let listed = |name: &str| adapters.iter().any(|adapter| adapter[name] == used[name]);
    assert!(["adapter", "backend", "driver", "device_type", "software"].into_iter().all(listed), "{json:#}");
    let limits = used["limits"].as_object().expect("limits");
    assert!(limits.len() == 8 && limits.values().all(|limit| limit.as_u64() > Some(0)), "{json:#}");
    assert!(used["features"]["timestamps"].is_boolean() && used["subnormals"].is_string(), "{json:#}");
    for format in ["table", "md"] {
        let text = said(format);
        let facts =
            ["adapter", "backend", "driver", "subnormals"].map(|name| used[name].as_str().expect("a text").to_owned());
        let facts = facts.into_iter().chain(limits.values().map(ToString::to_string));
        facts.for_each(|fact| assert!(text.contains(&fact), "{format}: {fact} is missing in:\n{text}"));
        assert_eq!(text.contains("\n## limits that matter\n\n| limit | value |"), format == "md", "{text}");
        // The first lines, and that of the adapter, are as long as what a driver says.
        let tables = text.split("\n\n").skip(3).flat_map(str::lines);
        assert!(format == "md" || tables.map(|line| line.chars().count()).max() <= Some(80), "{text}");
    }
    // Without an adapter the list is printed too, and it is a failure.
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_elbow"))
        .args(["info", "--format", "json"])
        .env("WGPU_ADAPTER_NAME", "no such adapter")
        .output()
        .expect("elbow starts");
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(output.status.code() == Some(2) && json["used"].is_null() && json["adapters"].is_array(), "{json:#}");
}

#[test]
fn without_a_fitting_adapter_info_says_so_and_fails() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_elbow"))
        .arg("info")
        .env("WGPU_ADAPTER_NAME", "no such adapter")
        .output()
        .expect("elbow starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "a missing adapter must not pass for success");
    assert!(stderr.contains("WGPU_ADAPTER_NAME=no such adapter"), "what was wanted is missing: {stderr}");
}

/// Mesa complains on stderr where this variable is missing, as it is on servers.
#[test]
fn a_machine_without_a_desktop_is_no_news() {
    let folder = Folder::new("desktop");
    let info = |set: bool| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_elbow"));
        command.arg("info").env_remove("XDG_RUNTIME_DIR");
        if set {
            command.env("XDG_RUNTIME_DIR", &folder.0);
        }
        let output = command.output().expect("elbow starts");
        assert!(output.status.success(), "no adapter? {}", String::from_utf8_lossy(&output.stderr));
        (String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (with, without) = (info(true), info(false));
    assert_eq!(without.1, "", "stderr is for our own line");
    assert_eq!(without, with, "the variable makes no other difference");
}
