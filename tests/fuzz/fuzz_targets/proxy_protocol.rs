//! A PROXY header is never longer than what came, and its answer does not change with what follows.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pointsman::net::proxy_protocol::{Parsed, parse};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(Parsed::Done(header)) = parse(bytes) {
        assert!(header.length <= bytes.len());
        match parse(&bytes[..header.length]) {
            Ok(Parsed::Done(again)) => assert_eq!(header.addresses, again.addresses),
            _ => panic!("a header that needs what comes after it"),
        }
    }
});
