//! A response head is read alike whole and in two cuts.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pointsman::h1::{Framing, HeadLimits, Method, ResponseHead, Scan};

fuzz_target!(|input: (usize, &[u8])| {
    let (cut, bytes) = input;
    let limits = HeadLimits::default();
    let mut whole = ResponseHead::default();
    let result = whole.parse(bytes, &limits, &mut Scan::default());
    let (mut head, mut scan) = (ResponseHead::default(), Scan::default());
    let first = head.parse(&bytes[..cut % (bytes.len() + 1)], &limits, &mut scan);
    let again = if matches!(first, Ok(None)) { head.parse(bytes, &limits, &mut scan) } else { first };
    match (result, again) {
        (Err(_), Err(_)) => return,
        (result, again) => assert_eq!(result, again),
    }
    if let Ok(Some(_)) = result {
        assert!((100..=999).contains(&whole.status));
        let _ = Framing::of_response(&whole, &Method::Get);
    }
});
