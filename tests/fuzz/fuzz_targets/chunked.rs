//! A chunked body is the same whole and byte by byte.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pointsman::h1::{Chunk, Decoder};

fuzz_target!(|bytes: &[u8]| {
    assert_eq!(decode(bytes, usize::MAX), decode(bytes, 1));
});

fn decode(bytes: &[u8], step: usize) -> Option<(Vec<u8>, usize)> {
    let (mut decoder, mut body, mut at, mut end) = (Decoder::default(), Vec::new(), 0, 0_usize);
    while end < bytes.len() {
        end = end.saturating_add(step).min(bytes.len());
        while at < end {
            match decoder.next(&bytes[at..end]).ok()? {
                Chunk::Data { skip, length } => {
                    body.extend_from_slice(&bytes[at + skip..at + skip + length]);
                    at += skip + length;
                }
                Chunk::More => at = end,
                Chunk::End(length) => return decoder.take_trailers().ok().map(|_| (body, at + length)),
            }
        }
    }
    None
}
