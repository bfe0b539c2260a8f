//! Decoding of blocks (RFC 7541 §6).

use super::{error::CompressionError, huffman, integer, table::Table};

/// The decoder of one direction of a connection.
#[derive(Debug)]
pub struct Decoder {
    table: Table,
    /// The most that the table may be made (SETTINGS_HEADER_TABLE_SIZE).
    most: usize,
    name: Vec<u8>,
    value: Vec<u8>,
}

/// What a table may hold unless it is said otherwise (RFC 9113 §6.5.2).
const DEFAULT_TABLE: usize = 4096;
/// What is kept of the memory in which names and values are decoded.
const KEPT: usize = 4096;

impl Default for Decoder {
    fn default() -> Self {
        Self::new(DEFAULT_TABLE)
    }
}

impl Decoder {
    /// A decoder whose table holds up to so many bytes.
    pub fn new(most: usize) -> Self {
        Self { table: Table::new(most), most, name: Vec::new(), value: Vec::new() }
    }

    /// Decodes a whole block: each field, name and value, is given to `take`.
    pub fn decode(
        &mut self,
        mut block: &[u8],
        mut take: impl FnMut(&[u8], &[u8]),
    ) -> Result<(), CompressionError> {
        let mut is_begun = false;
        while let Some(first) = block.first() {
            block = match first {
                0x80.. => {
                    let (index, rest) = integer::read(block, 7)?;
                    let (name, value) = self.table.field(index)?;
                    take(name, value);
                    rest
                }
                0x40..0x80 => {
                    let rest = self.literal(block, 6)?;
                    self.table.add(&self.name, &self.value);
                    take(&self.name, &self.value);
                    rest
                }
                0x20..0x40 => {
                    let (size, rest) = integer::read(block, 5)?;
                    if is_begun {
                        return Err(CompressionError(
                            "the size of the table changes in the middle of a field block",
                        ));
                    }
                    if size > self.most {
                        return Err(CompressionError("the table is made larger than allowed"));
                    }
                    self.table.resize(size);
                    block = rest;
                    continue;
                }
                0x00..0x20 => {
                    let rest = self.literal(block, 4)?;
                    take(&self.name, &self.value);
                    rest
                }
            };
            is_begun = true;
        }
        for memory in [&mut self.name, &mut self.value] {
            memory.clear();
            memory.shrink_to(KEPT);
        }
        Ok(())
    }

    /// Reads a literal field into `name` and `value` (§6.2).
    fn literal<'a>(&mut self, block: &'a [u8], prefix: u32) -> Result<&'a [u8], CompressionError> {
        let (index, mut rest) = integer::read(block, prefix)?;
        self.name.clear();
        if index == 0 {
            rest = string(rest, &mut self.name)?;
        } else {
            self.name.extend_from_slice(self.table.field(index)?.0);
        }
        self.value.clear();
        string(rest, &mut self.value)
    }

    /// Bytes of its table, as the standard counts them.
    #[cfg(test)]
    pub(super) fn table_size(&self) -> usize {
        self.table.size()
    }

    /// Bytes of memory that it holds, about.
    pub fn memory(&self) -> usize {
        self.table.memory() + self.name.capacity() + self.value.capacity()
    }
}

/// Reads a string (§5.2), and gives what is behind it.
fn string<'a>(bytes: &'a [u8], out: &mut Vec<u8>) -> Result<&'a [u8], CompressionError> {
    let is_huffman = bytes.first().is_some_and(|first| first & 0x80 != 0);
    let (length, rest) = integer::read(bytes, 7)?;
    let (text, rest) = rest
        .split_at_checked(length)
        .ok_or(CompressionError("a field block ends in the middle of a string"))?;
    if !is_huffman {
        out.extend_from_slice(text);
    } else if !huffman::decode(text, out) {
        return Err(CompressionError("a string is not valid Huffman code"));
    }
    Ok(rest)
}
