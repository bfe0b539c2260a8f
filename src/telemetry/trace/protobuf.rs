//! As much of writing Protocol Buffers as OTLP needs: numbers, fixed-width numbers, bytes, and messages in
//! messages. <https://protobuf.dev/programming-guides/encoding/>

const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const LENGTH: u64 = 2;
const FIXED32: u64 = 5;

/// A field that is a number. Zero is the default of every field and need not be written.
pub fn number(field: u64, value: u64, out: &mut Vec<u8>) {
    varint(field << 3 | VARINT, out);
    varint(value, out);
}

/// A field that is a 64-bit number of fixed width.
pub fn fixed64(field: u64, value: u64, out: &mut Vec<u8>) {
    varint(field << 3 | FIXED64, out);
    out.extend_from_slice(&value.to_le_bytes());
}

/// A field that is a 32-bit number of fixed width.
pub fn fixed32(field: u64, value: u32, out: &mut Vec<u8>) {
    varint(field << 3 | FIXED32, out);
    out.extend_from_slice(&value.to_le_bytes());
}

/// A field that is text or bytes. Text must be UTF-8.
pub fn bytes(field: u64, value: &[u8], out: &mut Vec<u8>) {
    varint(field << 3 | LENGTH, out);
    varint(value.len() as u64, out);
    out.extend_from_slice(value);
}

/// A field that is a message, which `write` writes the fields of.
pub fn message(field: u64, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    varint(field << 3 | LENGTH, out);
    let at = out.len();
    // Room for a length below 128, which most are; a longer one moves what was written.
    out.push(0);
    write(out);
    let mut length = (out.len() - at - 1) as u64;
    let short = u8::try_from(length).ok().filter(|length| *length < 0x80);
    if let (Some(first), Some(length)) = (out.get_mut(at), short) {
        *first = length;
        return;
    }
    let mut digits = [0; 10];
    let mut count = 0;
    for digit in &mut digits {
        *digit = (length & 0x7f) as u8 | if length >= 0x80 { 0x80 } else { 0 };
        length >>= 7;
        count += 1;
        if length == 0 {
            break;
        }
    }
    out.splice(at..=at, digits.into_iter().take(count));
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push((value & 0x7f) as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentations_examples_come_out_as_there() {
        let mut out = Vec::new();
        number(1, 150, &mut out);
        assert_eq!(out, [0x08, 0x96, 0x01]);
        out.clear();
        bytes(2, b"testing", &mut out);
        assert_eq!(out, *b"\x12\x07testing");
        out.clear();
        message(3, &mut out, |out| number(1, 150, out));
        assert_eq!(out, [0x1a, 0x03, 0x08, 0x96, 0x01]);
        out.clear();
        fixed32(16, 0x0102, &mut out);
        assert_eq!(out, [0x85, 0x01, 0x02, 0x01, 0, 0]);
        out.clear();
        fixed64(7, 1, &mut out);
        assert_eq!(out, [0x39, 1, 0, 0, 0, 0, 0, 0, 0]);
        out.clear();
        number(1, u64::MAX, &mut out);
        assert_eq!(out.len(), 11);
    }

    #[test]
    fn a_message_of_any_length_has_its_length_prefix() {
        for length in [0, 1, 126, 127, 128, 129, 16_383, 16_384, 70_000, 2_097_151, 2_097_152] {
            let body = vec![7; length];
            let (mut one, mut other) = (b"before".to_vec(), b"before".to_vec());
            message(9, &mut one, |out| out.extend_from_slice(&body));
            bytes(9, &body, &mut other);
            assert!(one == other, "{length}");
        }
    }
}
