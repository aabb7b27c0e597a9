//! `elbow info`.

use crate::harness::Folder;

#[test]
fn info_names_the_adapter_and_the_limits() {
    let output = Folder::new("info").elbow(&["info"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "no adapter? {}", String::from_utf8_lossy(&output.stderr));
    for part in ["adapters that run compute shaders", "backend", "elbow would use: ", "limits that matter", "features"]
    {
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
