//! Distinguished names as text (RFC 4514).

use std::fmt::Write as _;

use super::der::{Der, text};

/// A distinguished name, the most specific part first: `CN=a,O=Example` (RFC 4514 §2.1); `None` for what is none.
pub(super) fn distinguished_name(name: &[u8]) -> Option<String> {
    let (mut parts, mut sets) = (Vec::new(), Der(name));
    while !sets.0.is_empty() {
        let (_, set) = sets.next()?;
        let (mut attributes, mut set) = (Vec::new(), Der(set));
        while !set.0.is_empty() {
            let (_, attribute) = set.next()?;
            let mut attribute = Der(attribute);
            let (_, kind) = attribute.next()?;
            let (tag, value) = attribute.next()?;
            attributes.push(format!("{}={}", kind_name(kind), escaped(&text(tag, value))));
        }
        parts.push(attributes.join("+"));
    }
    parts.reverse();
    Some(parts.join(","))
}

/// RFC 4514 §3 and what certificates have besides; others by their number.
fn kind_name(kind: &[u8]) -> String {
    let name = match kind {
        [0x55, 0x04, 0x03] => "CN",
        [0x55, 0x04, 0x05] => "serialNumber",
        [0x55, 0x04, 0x06] => "C",
        [0x55, 0x04, 0x07] => "L",
        [0x55, 0x04, 0x08] => "ST",
        [0x55, 0x04, 0x09] => "STREET",
        [0x55, 0x04, 0x0a] => "O",
        [0x55, 0x04, 0x0b] => "OU",
        // 0.9.2342.19200300.100.1.25 and .1
        [0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01, 0x19] => "DC",
        [0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01, 0x01] => "UID",
        // 1.2.840.113549.1.9.1
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x01] => "emailAddress",
        _ => return dotted(kind),
    };
    name.to_owned()
}

/// An object identifier in numbers (X.690 §8.19).
fn dotted(kind: &[u8]) -> String {
    let (mut numbers, mut number) = (Vec::new(), 0_u64);
    for byte in kind {
        number = (number << 7) | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            if numbers.is_empty() {
                let first = (number / 40).min(2);
                numbers.push(first.to_string());
                number -= first * 40;
            }
            numbers.push(number.to_string());
            number = 0;
        }
    }
    numbers.join(".")
}

/// A value with its special characters escaped (RFC 4514 §2.4), control characters too.
fn escaped(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let last = value.chars().count().saturating_sub(1);
    for (at, sign) in value.chars().enumerate() {
        let is_edge = (sign == ' ' && (at == 0 || at == last)) || (sign == '#' && at == 0);
        if sign.is_ascii_control() {
            // Writing to a string does not fail.
            let _ = write!(out, "\\{:02X}", u32::from(sign));
            continue;
        }
        if is_edge || "\"+,;<>\\".contains(sign) {
            out.push('\\');
        }
        out.push(sign);
    }
    out
}
