//! Encoding of blocks (RFC 7541 §6): indexed statuses, and literals with names of the static table.

use super::{
    integer,
    static_table::{index_of, index_of_known},
};
use crate::fields::{Field, write_number};

/// The encoder of one direction of a connection.
#[derive(Debug)]
pub struct Encoder {
    must_size: bool,
}

impl Default for Encoder {
    fn default() -> Self {
        Self { must_size: true }
    }
}

impl Encoder {
    /// The other end said how large the table may be: that ours is empty is to be said again (§4.2).
    pub fn resize(&mut self) {
        self.must_size = true;
    }

    /// Begins a block.
    pub fn begin(&mut self, out: &mut Vec<u8>) {
        if std::mem::take(&mut self.must_size) {
            integer::write(0, 5, 0x20, out);
        }
    }

    /// Writes the status of a response.
    pub fn status(&self, status: u16, out: &mut Vec<u8>) {
        let index = match status {
            200 => 8,
            204 => 9,
            206 => 10,
            304 => 11,
            400 => 12,
            404 => 13,
            500 => 14,
            _ => {
                integer::write(8, 4, 0, out);
                out.push(3);
                write_number(u64::from(status), out);
                return;
            }
        };
        integer::write(index, 7, 0x80, out);
    }

    /// Writes the pseudo-fields of a request (RFC 9113 §8.3.1), by the names of the static table (RFC 7541 appendix A).
    pub fn request(&self, method: &str, is_tls: bool, authority: &str, path: &str, out: &mut Vec<u8>) {
        match method {
            "GET" => out.push(0x82),
            "POST" => out.push(0x83),
            _ => literal(2, method, out),
        }
        out.push(if is_tls { 0x87 } else { 0x86 });
        literal(1, authority, out);
        if path == "/" { out.push(0x84) } else { literal(4, path, out) }
    }

    /// Writes a field; its name goes in lower case (RFC 9113 §8.2.1).
    pub fn field(&self, name: &[u8], value: &[u8], out: &mut Vec<u8>) {
        indexed(index_of(name), name, value, out);
    }

    /// Writes a field that has a tag, by which a name that is known is found at once.
    pub fn tagged(&self, field: &Field<'_>, out: &mut Vec<u8>) {
        let index = match index_of_known(field.known) {
            None if !field.known.is_named() => index_of(field.name),
            index => index,
        };
        indexed(index, field.name, field.value, out);
    }

    /// Begins a field whose value comes in pieces, which the caller adds to `out`; gives where its length stands.
    pub fn begin_value(&self, name: &[u8], out: &mut Vec<u8>) -> usize {
        write_name(index_of(name), name, out);
        out.push(0);
        out.len() - 1
    }

    /// Ends a field whose length stands there.
    pub fn end_value(&self, at: usize, out: &mut Vec<u8>) {
        let length = out.len().saturating_sub(at + 1);
        if let (Some(place), Ok(short @ 0..0x7f)) = (out.get_mut(at), u8::try_from(length)) {
            *place = short;
            return;
        }
        let mut prefix = Vec::new();
        integer::write(length, 7, 0, &mut prefix);
        drop(out.splice(at..=at, prefix));
    }
}

/// A literal with its name from the static table, or in full; it goes into no table.
#[inline]
fn indexed(index: Option<usize>, name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    out.reserve(name.len() + value.len() + 12);
    write_name(index, name, out);
    integer::write(value.len(), 7, 0, out);
    out.extend_from_slice(value);
}

/// The beginning of a literal: its name, from the static table or in full.
#[inline]
fn write_name(index: Option<usize>, name: &[u8], out: &mut Vec<u8>) {
    match index {
        Some(index) => integer::write(index, 4, never_indexed(index), out),
        None => {
            out.push(0);
            integer::write(name.len(), 7, 0, out);
            let at = out.len();
            out.extend_from_slice(name);
            out.get_mut(at..).unwrap_or_default().make_ascii_lowercase();
        }
    }
}

/// Fields of the static table whose values are secret: `authorization`, `cookie`, `proxy-authorization`, `set-cookie`.
const SECRET: u64 = 1 << 23 | 1 << 32 | 1 << 49 | 1 << 55;

/// The bit of a literal that has whoever passes it on put it into no table either (§6.2.3): values in a table can be
/// guessed by the length of what refers to them (§7.1). It is set whether the field came with it or not.
#[inline]
fn never_indexed(index: usize) -> u8 {
    if SECRET >> (index & 63) & 1 == 1 { 0x10 } else { 0 }
}

/// A literal whose name is in the static table; it goes into no table.
fn literal(name: usize, value: &str, out: &mut Vec<u8>) {
    integer::write(name, 4, 0, out);
    integer::write(value.len(), 7, 0, out);
    out.extend_from_slice(value.as_bytes());
}
