//! Encodings of bodies.

use crate::schema::choice;

choice! {
    /// An encoding that responses may be compressed with (RFC 9110 §8.4.1).
    pub enum Coding {
        /// Zstandard (RFC 8878), with windows of at most 8 MiB (RFC 9659).
        Zstd = "zstd",
        /// Brotli (RFC 7932).
        Br = "br",
        /// Gzip (RFC 1952).
        Gzip = "gzip",
    }
}
