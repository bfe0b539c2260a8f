//! Maps by text.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// A map whose keys come from the configuration and whose look-ups come from requests. An attacker
/// chooses only what is looked up, never what is stored, so the hash needs no secret.
pub(super) type Map<V> = HashMap<Box<str>, V, BuildHasherDefault<TextHash>>;

/// XXH3 over the one slice that a text is.
#[derive(Default)]
pub(super) struct TextHash(u64);

impl Hasher for TextHash {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64_with_seed(bytes, self.0);
    }

    /// `str` closes its hash with a byte, which adds nothing where keys are single texts.
    #[inline]
    fn write_u8(&mut self, _: u8) {}

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}
