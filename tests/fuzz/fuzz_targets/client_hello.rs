//! A ClientHello says the same however it comes: at once, and byte by byte.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pointsman::l4::hello::{HelloReader, MOST_RECORDS};

fuzz_target!(|bytes: &[u8]| {
    let bytes = &bytes[..bytes.len().min(MOST_RECORDS - 1)];
    let whole = HelloReader::default().read(bytes);
    let mut reader = HelloReader::default();
    let mut pieces = Ok(None);
    for length in 0..=bytes.len() {
        pieces = reader.read(&bytes[..length]);
        if !matches!(pieces, Ok(None)) {
            break;
        }
    }
    assert_eq!(whole, pieces);
});
