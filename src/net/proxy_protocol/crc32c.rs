//! CRC-32C (Castagnoli): RFC 9260, appendix A. A header is checked once per connection, so a table of
//! one kilobyte is fast enough.

/// The sum over `bytes`.
pub(super) fn of<'b>(bytes: impl Iterator<Item = &'b u8>) -> u32 {
    !bytes.fold(u32::MAX, |sum, byte| {
        let [low, ..] = sum.to_le_bytes();
        let place = usize::from(low ^ byte);
        TABLE.get(place).copied().unwrap_or_default() ^ (sum >> 8)
    })
}

/// 0x1EDC6F41, the polynomial of RFC 9260, with its bits in reverse.
const POLYNOMIAL: u32 = 0x82F6_3B78;

const TABLE: [u32; 256] = table();

#[expect(clippy::indexing_slicing, reason = "runs at compile time, where a slip does not compile")]
const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut place = 0;
    let mut number = 0_u32;
    while place < 256 {
        let mut sum = number;
        let mut bit = 0;
        while bit < 8 {
            sum = (sum >> 1) ^ if sum & 1 == 1 { POLYNOMIAL } else { 0 };
            bit += 1;
        }
        table[place] = sum;
        place += 1;
        number += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    #[test]
    fn known_sums() {
        // The check value of this CRC, and the examples of RFC 3720, appendix B.4.
        assert_eq!(super::of(b"123456789".iter()), 0xE306_9283);
        assert_eq!(super::of([0; 32].iter()), 0x8A91_36AA);
        assert_eq!(super::of([0xFF; 32].iter()), 0x62A8_AB43);
        assert_eq!(super::of([].iter()), 0);
    }
}
