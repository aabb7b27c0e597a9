//! Where files are, and where they are not.

use std::{fs, process::Output};

use crate::harness::{Folder, file, layer, with};

fn eval(folder: &Folder, input: &str, output: &str) -> Output {
    folder.elbow(&["eval", "--activation", "relu", "--device", "cpu", input, output])
}

/// A folder with a good in.safetensors.
fn prepared(name: &str) -> Folder {
    let folder = Folder::new(name);
    fs::write(folder.path("in.safetensors"), file(&layer())).expect("the input file");
    folder
}

fn fails(folder: &Folder, input: &str, output: &str, part: &str) {
    let result = eval(folder, input, output);
    let stderr = String::from_utf8_lossy(&result.stderr);
    assert_eq!(result.status.code(), Some(2), "{input} {output}: {stderr}");
    assert_eq!(stderr.trim_end().lines().count(), 1, "one line, got: {stderr}");
    assert!(stderr.contains(part), "{part:?} is missing in: {stderr}");
}

#[test]
fn files_that_are_not_there() {
    let folder = prepared("absent");
    let long = "n".repeat(300);
    let readable = |input: &str, shown: &str| {
        fails(&folder, input, "out.safetensors", &format!("{shown}: expected a readable file"));
    };
    readable("none.safetensors", "none.safetensors");
    readable("none/in.safetensors", "none/in.safetensors");
    readable("in.safetensors/in.safetensors", "in.safetensors/in.safetensors");
    readable("a\nb", "a b");
    readable(".", ".");
    readable(&long, &long);
    let writable = |output: &str| fails(&folder, "in.safetensors", output, &format!("{output}: expected a place"));
    writable("none/out.safetensors");
    writable("in.safetensors/out.safetensors");
    writable(".");
    writable(&long);
    #[cfg(unix)]
    writable("/dev/null");
    // A folder in which nobody may create a file.
    #[cfg(target_os = "linux")]
    writable("/proc/out.safetensors");
    assert_eq!(folder.names(), ["in.safetensors"], "nothing may have been written");
    fails(&folder, "", "out.safetensors", "FILE.safetensors");
    fails(&folder, "in.safetensors", "", "FILE.safetensors");
}

#[test]
fn a_file_that_is_too_large_is_not_read() {
    let folder = Folder::new("too-large");
    let input = fs::File::create(folder.path("in.safetensors")).expect("the input file");
    // A hole: it takes no place on the disk.
    input.set_len((4 << 30) + 1).expect("a file with a hole");
    fails(&folder, "in.safetensors", "out.safetensors", "in.safetensors: expected a file of at most 4294967296 bytes");
}

#[test]
fn an_existing_output_survives_a_mistake() {
    let folder = Folder::new("survives");
    fs::write(folder.path("out.safetensors"), b"precious").expect("an old file");
    fs::write(folder.path("in.safetensors"), with(layer(), "b", &[9])).expect("the input file");
    let output = eval(&folder, "in.safetensors", "out.safetensors");
    assert_eq!(output.status.code(), Some(2), "a wrong bias must fail");
    assert_eq!(fs::read(folder.path("out.safetensors")).expect("still there"), b"precious", "the old file was touched");
}

#[test]
fn the_output_may_be_the_input() {
    let folder = prepared("same");
    assert!(eval(&folder, "in.safetensors", "out.safetensors").status.success(), "a good file");
    assert!(eval(&folder, "in.safetensors", "in.safetensors").status.success(), "onto itself");
    let read = |name: &str| fs::read(folder.path(name)).expect("an output file");
    assert!(read("in.safetensors") == read("out.safetensors"), "another result in place");
    assert_eq!(folder.names(), ["in.safetensors", "out.safetensors"], "no temporary file");
}

#[cfg(unix)]
mod unix {
    use std::{
        ffi::OsStr,
        io::Write as _,
        os::unix::{ffi::OsStrExt as _, fs::symlink},
        process::{Command, Stdio},
    };

    use super::*;

    #[test]
    fn links_are_followed_and_broken_ones_named() {
        let folder = prepared("links");
        symlink("in.safetensors", folder.path("good")).expect("a link");
        symlink("nowhere", folder.path("broken")).expect("a link");
        symlink("circle", folder.path("circle")).expect("a link");
        assert!(eval(&folder, "good", "out.safetensors").status.success(), "a link to a good file");
        fails(&folder, "broken", "out.safetensors", "broken: expected a readable file");
        fails(&folder, "circle", "out.safetensors", "circle: expected a readable file");
        fails(&folder, "in.safetensors", "circle", "circle: expected a place");
    }

    #[test]
    fn names_need_not_be_text() {
        let folder = prepared("bytes");
        let (input, output) = (OsStr::from_bytes(b"in\xff\n.st"), OsStr::from_bytes(b"out\xff\n.st"));
        fs::rename(folder.path("in.safetensors"), folder.0.join(input)).expect("renamed");
        let run = |input: &OsStr| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_elbow"));
            command.args(["eval", "--activation", "relu", "--device", "cpu"]).args([input, output]);
            command.current_dir(&folder.0).output().expect("elbow starts")
        };
        let good = run(input);
        assert!(good.status.success(), "{}", String::from_utf8_lossy(&good.stderr));
        assert!(folder.0.join(output).is_file(), "the output has the name that was asked for");
        let bad = run(OsStr::from_bytes(b"no\xff\n.st"));
        assert_eq!(bad.status.code(), Some(2), "no such file");
        assert_eq!(bad.stderr.iter().filter(|byte| **byte == b'\n').count(), 1, "one line");
    }

    #[test]
    fn the_input_may_be_a_pipe() {
        let folder = Folder::new("pipe");
        let mut command = Command::new(env!("CARGO_BIN_EXE_elbow"));
        command.args(["eval", "--activation", "relu", "--device", "cpu", "/dev/stdin", "out.safetensors"]);
        let mut child = command.current_dir(&folder.0).stdin(Stdio::piped()).spawn().expect("elbow starts");
        let mut pipe = child.stdin.take().expect("a pipe");
        pipe.write_all(&file(&layer())).expect("written");
        drop(pipe);
        assert!(child.wait().expect("it ends").success(), "a good file from a pipe");
        assert_eq!(folder.names(), ["out.safetensors"], "the result");
        fails(&folder, "/dev/null", "other.safetensors", "/dev/null: expected a safetensors file");
    }
}
