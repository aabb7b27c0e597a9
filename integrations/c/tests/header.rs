//! The header is that of the source. `ELBOW_WRITE_HEADER=1 cargo test -p elbow-c --test header` writes it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{env, fs, path::Path};

#[test]
fn the_header_is_fresh() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(root.join("cbindgen.toml")).unwrap();
    let mut text = Vec::new();
    cbindgen::Builder::new().with_crate(root).with_config(config).generate().unwrap().write(&mut text);
    // What Rust's pages need and a header does not.
    let text = String::from_utf8(text).unwrap().replace("//\n// # Safety\n", "//\n").replace('`', "");
    let path = root.join("include/elbow.h");
    if env::var_os("ELBOW_WRITE_HEADER").is_some() {
        fs::write(&path, &text).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == text, "include/elbow.h is stale: ELBOW_WRITE_HEADER=1 cargo test -p elbow-c --test header");
}
