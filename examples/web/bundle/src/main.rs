//! wasm-bindgen's own command, without installing it: `elbow-web-bundle MODULE.wasm FOLDER` writes the module and the JavaScript
//! that loads it. As a dependency it has the version that the module was compiled with, by the Cargo.lock of both.

#![forbid(unsafe_code)]

use std::{env, process::ExitCode};

use wasm_bindgen_cli_support::Bindgen;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [module, folder] = arguments.as_slice() else {
        eprintln!("usage: elbow-web-bundle MODULE.wasm FOLDER");
        return ExitCode::FAILURE;
    };
    let mut bindgen = Bindgen::new();
    // For the page's size: names of functions, and of compilers.
    bindgen
        .input_path(module)
        .typescript(false)
        .omit_default_module_path(false)
        .remove_name_section(true)
        .remove_producers_section(true);
    let written = bindgen.web(true).and_then(|bindgen| bindgen.generate(folder));
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("elbow-web-bundle: {error:#}");
            ExitCode::FAILURE
        }
    }
}
