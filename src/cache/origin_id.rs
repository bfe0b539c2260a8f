//! Whom a cache asks.

use xxhash_rust::xxh3::xxh3_64;

/// Tells apart whom fetches that are under way ask, and by what: a route and an upstream, as one generation of the
/// configuration has them, and the next one as long as they stay the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OriginId(usize, usize);

impl OriginId {
    /// By where the two are: who asks holds them until its fetch ends.
    pub fn of<R, U>(route: &R, upstream: &U) -> Self {
        Self(std::ptr::from_ref(route).addr(), std::ptr::from_ref(upstream).addr())
    }

    /// A number that hardly any other has, and never 0.
    pub fn number(self) -> u32 {
        let [a, b, c, d, ..] = xxh3_64(&[self.0.to_ne_bytes(), self.1.to_ne_bytes()].concat()).to_ne_bytes();
        u32::from_ne_bytes([a, b, c, d]).max(1)
    }
}
