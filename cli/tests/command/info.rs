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
    assert_eq!(text.contains("type SOFTWARE"), text.contains("SOFTWARE adapter"), "said in one place only:\n{text}");
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
