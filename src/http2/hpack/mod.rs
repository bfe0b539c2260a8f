//! Field compression (HPACK, RFC 7541), for either role.
//!
//! What is decoded is given to the caller field by field, so that nothing is gathered that is not wanted; a block that
//! expands to more than its reader takes costs no memory, and no more time than its own length. What we send uses the
//! static table and no other: a response's fields hardly repeat, and to look them up costs more than their bytes.
//!
//! Fields whose values are secret are sent as never indexed (§6.2.3), by their names. That others came so is not kept: it
//! would take a bit of each field from here to the other end, through what is stored of responses, and HTTP/1.1 between
//! the two has no word for it.

mod decoder;
mod encoder;
mod error;
mod huffman;
mod integer;
mod static_table;
mod table;

pub use decoder::Decoder;
pub use encoder::Encoder;
pub use error::CompressionError;

#[cfg(test)]
mod tests;
