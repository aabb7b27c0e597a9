//! The program from outside: what it says where something is wrong. What it finds where RADV is installed is a step of `scripts/test`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Command;

/// What it prints to stderr when it fails.
fn failure(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_elbow-isa")).args(arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {output:?}");
    assert!(output.stdout.is_empty(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_failure_is_a_sentence_and_exit_code_1() {
    let absent = "--icd=/nowhere/radeon_icd.json";
    for (arguments, sentence) in [
        (&["--check=/nowhere/isa.tsv"][..], "elbow-isa: /nowhere/isa.tsv: "),
        (&["--check=Cargo.toml"], "elbow-isa: Cargo.toml: line 1: "),
        (&["--dump=no such kernel", absent], "elbow-isa: no kernel's name has \"no such kernel\" in it"),
        (&["--dump=product_staged NT", absent], "elbow-isa: \"product_staged NT\" is a part of several names:"),
        (&["--driver", absent], "elbow-isa: "),
        (&["relu", absent], "elbow-isa: rdna"),
    ] {
        let said = failure(arguments);
        assert!(said.contains(sentence) && !said.contains("panicked"), "{arguments:?}: {said}");
    }
}
