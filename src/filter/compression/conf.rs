//! `compression` of a route, and what goes with it, as configured.

use crate::schema::section;

section! {
    /// Compression level of each encoding: higher is smaller and slower.
    pub struct LevelsConf {
        /// Level for Zstandard.
        pub zstd: u32 = 3, in 1 to 12;
        /// Level for Brotli.
        pub br: u32 = 2, in 0 to 9;
        /// Level for gzip.
        pub gzip: u32 = 5, in 1 to 9;
    }
}

/// Media types that are compressed where a route does not say: texts, and what is one in disguise. Images, video and
/// archives are compressed already.
pub const TYPES: [&str; 14] = [
    "text/*",
    "application/javascript",
    "application/json",
    "application/manifest+json",
    "application/vnd.ms-fontobject",
    "application/wasm",
    "application/x-javascript",
    "application/xml",
    "font/otf",
    "font/ttf",
    "image/bmp",
    "image/svg+xml",
    "*+json",
    "*+xml",
];
