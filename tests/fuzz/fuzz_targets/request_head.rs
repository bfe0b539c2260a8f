//! A request head is read alike whole and in two cuts, and what is written of it is read as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pointsman::h1::{Framing, HeadLimits, RequestHead, Scan};

fuzz_target!(|input: (usize, &[u8])| {
    let (cut, bytes) = input;
    let limits = HeadLimits::default();
    let mut whole = RequestHead::default();
    let result = whole.parse(bytes, &limits, &mut Scan::default());
    let (mut head, mut scan) = (RequestHead::default(), Scan::default());
    let first = head.parse(&bytes[..cut % (bytes.len() + 1)], &limits, &mut scan);
    let again = if matches!(first, Ok(None)) { head.parse(bytes, &limits, &mut scan) } else { first };
    match (result, again) {
        (Err(_), Err(_)) => return,
        (result, again) => assert_eq!(result, again),
    }
    let Ok(Some(_)) = result else { return };
    let _ = Framing::of_request(&whole);
    let mut out = Vec::new();
    whole.write(&whole.target, &mut out);
    out.extend_from_slice(b"\r\n");
    let mut again = RequestHead::default();
    let more = HeadLimits { bytes: 2 * limits.bytes, ..limits };
    assert_eq!(again.parse(&out, &more, &mut Scan::default()), Ok(Some(out.len())));
    assert_eq!((&again.method, &again.target), (&whole.method, &whole.target));
});
