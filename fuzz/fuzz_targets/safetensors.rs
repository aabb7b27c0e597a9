//! Any bytes as an input file of `elbow eval`: read or refused, up to the step before a device is opened.

#![no_main]

use elbow_cli::{check, check_network, file};
use libfuzzer_sys::fuzz_target;

fn read(bytes: &[u8]) {
    if let Ok(tensors) = file::parse("in", bytes) {
        let numbers: usize = tensors.values().map(|tensor| tensor.values.len()).sum();
        assert!(numbers <= bytes.len() / 2, "{numbers} numbers in {} bytes", bytes.len());
        // prelu goes with every operand.
        let _ = check("prelu", tensors);
    }
    let _ = check_network(bytes);
}

fuzz_target!(|bytes: &[u8]| {
    read(bytes);
    // As a header whose length is right, which would be found by chance only.
    let length = (bytes.len() as u64).to_le_bytes();
    read(&[&length[..], bytes, &[0; 16]].concat());
});
