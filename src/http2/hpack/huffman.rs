//! The Huffman code of field names and values (RFC 7541 §5.2, Appendix B). It is canonical: the lengths of the codes give
//! the codes.

/// Bits of the code of each byte, and of the end.
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28,
    28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6,
    6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7,
    8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7,
    15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24,
    23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23,
    23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26,
    26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20,
    21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27,
    27, 27, 26, 30,
];

/// The longest code, in bits.
const LONGEST: usize = 30;
/// The symbol that ends a string, and may not be in one.
const END: u16 = 256;

/// What decoding looks at.
struct Tables {
    /// For the next eight bits: the symbol and the length of its code; 0 where that is longer.
    short: [(u8, u8); 256],
    /// By the length of a code: the first code, how many there are, and where their symbols begin.
    long: [(u32, u32, u32); LONGEST + 1],
    /// Symbols in the order of their codes.
    symbols: [u16; 257],
}

#[expect(clippy::indexing_slicing, reason = "evaluated at compile time, where a bad index is a build error")]
#[expect(
    clippy::cast_possible_truncation,
    reason = "symbols are at most 256, those with codes of eight bits below 256, places below 257, lengths at most 30"
)]
static TABLES: Tables = {
    let mut tables = Tables { short: [(0, 0); 256], long: [(0, 0, 0); LONGEST + 1], symbols: [0; 257] };
    let (mut code, mut length, mut place) = (0_u32, 1, 0);
    while length <= LONGEST {
        code <<= 1;
        tables.long[length] = (code, 0, place as u32);
        let mut symbol = 0;
        while symbol < LENGTHS.len() {
            if LENGTHS[symbol] as usize == length {
                tables.symbols[place] = symbol as u16;
                tables.long[length].1 += 1;
                if length <= 8 {
                    let first = (code << (8 - length)) as usize;
                    let mut at = first;
                    while at < first + (1 << (8 - length)) {
                        tables.short[at] = (symbol as u8, length as u8);
                        at += 1;
                    }
                }
                place += 1;
                code += 1;
            }
            symbol += 1;
        }
        length += 1;
    }
    tables
};

/// Decodes a string and adds it to `out`; false where it is not one.
#[must_use]
pub(super) fn decode(code: &[u8], out: &mut Vec<u8>) -> bool {
    let mut bytes = code.iter();
    // The lowest `count` bits are those that came and were not used.
    let (mut bits, mut count) = (0_u64, 0_u32);
    loop {
        while count <= 56 {
            let Some(byte) = bytes.next() else { break };
            bits = bits << 8 | u64::from(*byte);
            count += 8;
        }
        // The next 32 bits; behind the end they are ones, as padding is.
        let next = match count {
            32.. => ((bits >> (count - 32)) & 0xffff_ffff) as u32,
            0 => return true,
            _ => ((bits << (32 - count)) & 0xffff_ffff) as u32 | u32::MAX >> count,
        };
        let (symbol, length) = TABLES.short.get((next >> 24) as usize).copied().unwrap_or_default();
        if length > 0 {
            if u32::from(length) > count {
                return false;
            }
            out.push(symbol);
            count -= u32::from(length);
            continue;
        }
        if count < 8 {
            return next == u32::MAX;
        }
        match long(next) {
            Some((symbol, length)) if length <= count => out.push(symbol),
            _ => return false,
        }
        count -= long(next).map_or(0, |(_, length)| length);
    }
}

/// The symbol of a code of more than eight bits, and its length.
fn long(next: u32) -> Option<(u8, u32)> {
    let lengths = TABLES.long.iter().enumerate().skip(9);
    let mut found = lengths.zip(9_u32..).filter_map(|((_, (first, count, place)), length)| {
        let at = (next >> (32 - length)).wrapping_sub(*first);
        (at < *count).then_some((place + at, length))
    });
    let (place, length) = found.next()?;
    let symbol = TABLES.symbols.get(place as usize).copied().filter(|symbol| *symbol != END)?;
    Some((u8::try_from(symbol).ok()?, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Encodes by the same lengths; the vectors of the standard are in `hpack::tests`.
    fn encode(text: &[u8]) -> Vec<u8> {
        let code = |symbol: u8| {
            let length = usize::from(LENGTHS[usize::from(symbol)]);
            let (first, _, place) = TABLES.long[length];
            let at = TABLES.symbols.iter().position(|it| *it == u16::from(symbol)).unwrap();
            (first + (at as u32 - place), length)
        };
        let mut bits = String::new();
        for byte in text {
            let (code, length) = code(*byte);
            bits.push_str(&format!("{code:0length$b}"));
        }
        while !bits.len().is_multiple_of(8) {
            bits.push('1');
        }
        bits.as_bytes()
            .chunks(8)
            .map(|byte| u8::from_str_radix(std::str::from_utf8(byte).unwrap(), 2).unwrap())
            .collect()
    }

    #[test]
    fn every_byte_is_decoded_wherever_it_stands() {
        let all: Vec<u8> = (0..=255).collect();
        for text in [all.clone(), all.iter().rev().copied().collect(), b"0:\xffz".to_vec()] {
            let mut out = Vec::new();
            assert!(decode(&encode(&text), &mut out));
            assert_eq!(out, text);
        }
        for byte in 0..=255 {
            let mut out = Vec::new();
            assert!(decode(&encode(&[byte]), &mut out));
            assert_eq!(out, [byte]);
        }
    }

    #[test]
    fn padding_is_ones_and_shorter_than_a_byte() {
        let mut out = Vec::new();
        // '0' is 00000.
        assert!(decode(&[0b0000_0111], &mut out));
        assert!(!decode(&[0b0000_0110], &mut out), "not ones");
        assert!(!decode(&[0b0000_0111, 0xff], &mut out), "a byte too much");
        assert!(!decode(&[0xff, 0xff, 0xff, 0xff], &mut out), "the end is not a symbol");
        assert!(!decode(&[0xff], &mut out));
    }
}
