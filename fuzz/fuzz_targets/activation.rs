//! Any text as an activation: read or refused, and what is read prints to text that reads back the same.

#![no_main]

use elbow::Activation;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(activation) = text.parse::<Activation>() {
        let printed = activation.to_string();
        let back = printed.parse::<Activation>();
        assert_eq!(back.as_ref().ok(), Some(&activation), "{text} was printed as {printed}");
    }
});
