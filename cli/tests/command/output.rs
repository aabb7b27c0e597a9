//! What becomes of results: printed, saved, or said to be lost.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::harness::{Folder, file, layer};

fn elbow(folder: &Folder, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_elbow"));
    command.args(args).current_dir(&folder.0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Every command that prints, each as short as it can be. `tune` takes half a minute: the test below reads its text.
const PRINTING: [&[&str]; 14] = [
    &[],
    &["--help"],
    &["man"],
    &["completions", "fish"],
    &["--version"],
    &["eval", "--help"],
    &["info"],
    &["info", "--format", "json"],
    &["plan", "--activation", "relu", "2", "3", "4", "--class", "discrete", "--format", "md"],
    &["verify", "--case", "activation:relu"],
    &["verify", "--format", "json", "--case", "activation:relu"],
    &["sweep", "--stride", "100000007", "relu"],
    &["sweep", "--format", "json", "--stride", "100000007", "relu"],
    &["bench", "--quick", "--shapes", "1x1x1", "--activations", "relu"],
];

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_a_failure() {
    let folder = Folder::new("full");
    for args in PRINTING {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("a device that is always full");
        let output = elbow(&folder, args).stdout(full).output().expect("elbow starts");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {stderr}");
        let last = stderr.lines().last().unwrap_or_default();
        assert!(last.starts_with("elbow: stdout: ") && last.contains("space"), "{args:?}: {stderr}");
    }
}

#[test]
fn a_closed_pipe_is_silent() {
    let folder = Folder::new("pipe-closed");
    for args in PRINTING {
        let mut child = elbow(&folder, args).spawn().expect("elbow starts");
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("it ends");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {stderr}");
        assert!(!stderr.contains("elbow: ") && !stderr.contains("panicked"), "{args:?}: {stderr}");
    }
}

#[test]
fn stdout_is_written_in_one_file() {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    let mut read = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") && path.file_name().is_some_and(|n| n != "out.rs") {
                let text = fs::read_to_string(&path).expect("a source file");
                for other in ["stdout()", "println!", "print!("] {
                    let found = text.match_indices(other).any(|(at, _)| !text[..at].ends_with('e'));
                    assert!(!found, "{} prints past out.rs: {other}", path.display());
                }
                read += 1;
            }
        }
    }
    assert!(read > 15, "{read} files are not all");
}

/// The temporary files of the command in this folder.
fn temporary(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with(".elbow-")).collect()
}

fn wait_until(what: &str, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// `elbow eval` that waits for the rest of its input.
fn waiting(folder: &Folder, output: &str) -> Child {
    let args = ["eval", "--activation", "relu", "--device", "cpu", "/dev/stdin", output];
    elbow(folder, &args).stdin(Stdio::piped()).spawn().expect("elbow starts")
}

#[cfg(unix)]
#[test]
fn an_interrupt_leaves_nothing_behind() {
    let folder = Folder::new("interrupt");
    for (signal, code) in [("TERM", 143), ("INT", 130)] {
        let mut child = waiting(&folder, "out.safetensors");
        // Held open: to wait for a child closes its stdin.
        let _input = child.stdin.take();
        wait_until("a temporary file", || !temporary(&folder.0).is_empty());
        let sent = Command::new("kill").args(["-s", signal, &child.id().to_string()]).status().expect("kill");
        assert!(sent.success(), "{signal}");
        assert_eq!(child.wait().expect("it ends").code(), Some(code), "{signal}");
        assert!(folder.names().is_empty(), "{signal}: {:?}", folder.names());
    }
}

#[cfg(unix)]
#[test]
fn two_at_once_do_not_meet() {
    use std::{io::Write as _, os::unix::fs::PermissionsExt as _};
    let folder = Folder::new("at-once");
    let mut children = [waiting(&folder, "out.safetensors"), waiting(&folder, "out.safetensors")];
    wait_until("two temporary files", || temporary(&folder.0).len() == 2);
    for child in &mut children {
        let mut pipe = child.stdin.take().expect("a pipe");
        pipe.write_all(&file(&layer())).expect("written");
    }
    for mut child in children {
        assert!(child.wait().expect("it ends").success(), "both succeed");
    }
    assert_eq!(folder.names(), ["out.safetensors"], "the result, and nothing else");
    fs::write(folder.path("another"), b"").expect("a file");
    let mode = |name: &str| fs::metadata(folder.path(name)).expect("there").permissions().mode();
    assert_eq!(mode("out.safetensors"), mode("another"), "the permissions of any new file");
}

#[test]
fn a_place_that_cannot_be_written_is_found_out_at_once() {
    let folder = Folder::new("places");
    let mut places = vec![".".to_owned(), "file/out".to_owned()];
    fs::write(folder.path("file"), b"").expect("a file");
    if cfg!(target_os = "linux") {
        places.extend(["/proc/out".to_owned(), "/dev/null".to_owned()]);
    }
    for place in places {
        for args in [
            &["tune", "--file", &place][..],
            &["bench", "--report", &place],
            &["eval", "--activation", "relu", "none.safetensors", &place],
        ] {
            let start = Instant::now();
            let output = elbow(&folder, args).output().expect("elbow starts");
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{args:?}: {stderr}");
            assert!(stderr.lines().last().is_some_and(|line| line.contains(&place)), "{args:?}: {stderr}");
            assert!(output.stdout.is_empty(), "{args:?}: it measured first");
            assert!(start.elapsed() < Duration::from_secs(60), "{args:?}: it measured first");
        }
    }
    assert_eq!(folder.names(), ["file"], "nothing was made");
}

/// Behind a link lies another name, which the user did not ask for.
#[cfg(target_os = "linux")]
#[test]
fn an_error_names_what_was_asked_for() {
    let folder = Folder::new("asked");
    std::os::unix::fs::symlink("/proc/self/comm", folder.path("link")).expect("a link");
    fs::write(folder.path("in.safetensors"), file(&layer())).expect("the input file");
    let args = ["eval", "--activation", "relu", "--device", "cpu", "in.safetensors", "link"];
    let output = elbow(&folder, &args).output().expect("elbow starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.starts_with("elbow: link: expected a place") && !stderr.contains(".tmp"), "{stderr}");
}

#[test]
fn what_cannot_be_saved_is_still_printed() {
    let folder = Folder::new("gone");
    let page = folder.path("pages");
    fs::create_dir(&page).expect("a folder");
    let args = ["bench", "--quick", "--shapes", "1x1x1", "--activations", "relu", "--report", "pages/out.html"];
    let child = elbow(&folder, &args).spawn().expect("elbow starts");
    wait_until("a temporary file", || !temporary(&page).is_empty());
    fs::remove_dir_all(&page).expect("removed under the command's feet");
    let output = child.wait_with_output().expect("it ends");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.lines().last().is_some_and(|line| line.contains("pages/out.html: ")), "{stderr}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("1x1x1"), "the figures");
}
