//! Request ids: unique in a fleet as far as 64 random bits per worker make them.

use std::cell::Cell;

/// The ids that one worker gives.
#[derive(Debug)]
pub struct RequestIds {
    prefix: Box<str>,
    next: Cell<u64>,
}

/// An id that a worker has given, in fewer bytes than its text.
#[derive(Clone, Copy, Debug)]
pub struct RequestId(u64);

impl RequestIds {
    /// With a prefix of its own.
    pub(super) fn new() -> Self {
        Self { prefix: format!("{:016x}", fastrand::u64(..)).into(), next: Cell::new(0) }
    }

    /// The next one, to be written later.
    pub fn take(&self) -> RequestId {
        let next = self.next.get();
        self.next.set(next + 1);
        RequestId(next)
    }

    /// Writes one that was taken here: 32 hexadecimal digits.
    pub(super) fn write(&self, RequestId(number): RequestId, id: &mut String) {
        id.push_str(&self.prefix);
        let digits = hex(number);
        id.push_str(std::str::from_utf8(&digits).unwrap_or_default());
    }

    /// One that was taken here as text.
    pub fn text(&self, id: RequestId) -> String {
        let mut text = String::with_capacity(LENGTH);
        self.write(id, &mut text);
        text
    }
}

/// Of an id's text.
const LENGTH: usize = 32;

/// A number as sixteen hexadecimal digits. All at once: each byte of `digits` holds four bits of it, and becomes a digit.
fn hex(number: u64) -> [u8; 16] {
    let spread = |half: u32| {
        // 0x12345678 → 0x01_02_03_04_05_06_07_08
        let wide = u64::from(half);
        let wide = (wide | wide << 16) & 0x0000_ffff_0000_ffff;
        let wide = (wide | wide << 8) & 0x00ff_00ff_00ff_00ff;
        let wide = (wide | wide << 4) & 0x0f0f_0f0f_0f0f_0f0f;
        // What is above nine is a letter: 39 signs further on.
        let is_letter = ((wide + 0x0606_0606_0606_0606) >> 4) & 0x0101_0101_0101_0101;
        (wide + 0x3030_3030_3030_3030 + is_letter * 39).to_be_bytes()
    };
    const LOWER: u64 = 0xffff_ffff;
    let (high, low) = ((number >> 32) as u32, (number & LOWER) as u32);
    let mut digits = [0; 16];
    let (first, last) = digits.split_at_mut(8);
    first.copy_from_slice(&spread(high));
    last.copy_from_slice(&spread(low));
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_the_number_in_hexadecimal_digits() {
        for number in [0, 1, 9, 10, 15, 16, 0x0123_4567_89ab_cdef, u64::MAX, 1 << 63] {
            assert_eq!(std::str::from_utf8(&hex(number)).unwrap(), format!("{number:016x}"));
        }
    }
}
