//! Blocks of compressed fields, one behind the other, end in fields or an error, the same each time; and fields that are
//! compressed again come out as they went in.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pointsman::http2::hpack::{Decoder, Encoder};

type List = Vec<(Vec<u8>, Vec<u8>)>;

fuzz_target!(|blocks: Vec<Vec<u8>>| {
    let (mut decoder, mut again) = (Decoder::default(), Decoder::default());
    let (mut encoder, mut peer) = (Encoder::default(), Decoder::default());
    for block in &blocks {
        let (first, second) = (decode(&mut decoder, block), decode(&mut again, block));
        assert_eq!(first, second);
        assert!(decoder.memory() < 64 * 1024);
        let Some(fields) = first else { return };
        let mut out = Vec::new();
        encoder.begin(&mut out);
        fields.iter().for_each(|(name, value)| encoder.field(name, value, &mut out));
        let lower = |(name, value): &(Vec<u8>, Vec<u8>)| (name.to_ascii_lowercase(), value.clone());
        let given: List = fields.iter().map(lower).collect();
        let taken: Option<List> = decode(&mut peer, &out).map(|all| all.iter().map(lower).collect());
        assert_eq!(taken, Some(given));
    }
});

fn decode(decoder: &mut Decoder, block: &[u8]) -> Option<List> {
    let mut fields = Vec::new();
    // References to the table make a block longer than it is; who reads it counts, and stops.
    let mut left = 256 * 1024_usize;
    let mut take = |name: &[u8], value: &[u8]| {
        left = left.saturating_sub(name.len() + value.len() + 32);
        if left > 0 {
            fields.push((name.to_vec(), value.to_vec()));
        }
    };
    decoder.decode(block, &mut take).ok().map(|()| fields)
}
