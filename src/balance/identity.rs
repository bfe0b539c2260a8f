//! What the hashing policies hash: a number for each backend.

use std::{collections::HashMap, sync::Arc};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::backend::Backend;

/// What stands for each backend in hashes: of its address, so that every node that is configured alike
/// sends a key to the same backend. A second backend at one address gets another number.
pub(super) fn identities(backends: &[Arc<Backend>]) -> Arc<[u64]> {
    let addresses: Vec<String> = backends.iter().map(|b| b.address.to_string()).collect();
    let mut seen = HashMap::<&str, u64>::new();
    addresses
        .iter()
        .map(|address| {
            let times = seen.entry(address).or_default();
            *times += 1;
            xxh3_64_with_seed(address.as_bytes(), *times - 1)
        })
        .collect()
}

/// Spreads all bits of two numbers over one: the finalizer of `SplitMix64` (Steele, Lea, Flood:
/// "Fast splittable pseudorandom number generators", 2014).
#[inline]
pub(super) fn mix(a: u64, b: u64) -> u64 {
    let mut z = a ^ b.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
