//! A configuration is read or its problems are reported, and either way the program goes on.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Err(problems) = pointsman::config::parse(text, "pointsman.toml".as_ref()) {
        assert!(!problems.to_string().is_empty());
    }
});
