//! Integers with a prefix (RFC 7541 §5.1).

use super::error::CompressionError;

/// Reads an integer whose first byte has `prefix` bits of it; gives it and what is behind it. Larger ones than 2²⁸ have
/// no use, and are refused.
pub(super) fn read(bytes: &[u8], prefix: u32) -> Result<(usize, &[u8]), CompressionError> {
    const SHORT: CompressionError = CompressionError("a field block ends in the middle of an integer");
    let (first, mut rest) = bytes.split_first().ok_or(SHORT)?;
    let mask = (1_usize << prefix) - 1;
    let mut value = usize::from(*first) & mask;
    if value < mask {
        return Ok((value, rest));
    }
    for shift in [0, 7, 14, 21] {
        let (next, behind) = rest.split_first().ok_or(SHORT)?;
        rest = behind;
        value += usize::from(next & 0x7f) << shift;
        if next & 0x80 == 0 {
            return Ok((value, rest));
        }
    }
    Err(CompressionError("an integer in a field block is too large"))
}

/// Writes an integer behind the bits of `first` that are not of its prefix.
#[inline]
pub(super) fn write(value: usize, prefix: u32, first: u8, out: &mut Vec<u8>) {
    let mask = (1_usize << prefix) - 1;
    if value < mask {
        out.push(first | byte(value));
        return;
    }
    if value - mask < 0x80 {
        out.extend_from_slice(&[first | byte(mask), byte(value - mask)]);
        return;
    }
    write_long(value, mask, first, out);
}

fn byte(value: usize) -> u8 {
    u8::try_from(value & 0xff).unwrap_or_default()
}

#[inline(never)]
fn write_long(value: usize, mask: usize, first: u8, out: &mut Vec<u8>) {
    out.push(first | byte(mask));
    let mut left = value - mask;
    while left >= 0x80 {
        out.push(byte(left & 0x7f) | 0x80);
        left >>= 7;
    }
    out.push(byte(left));
}
