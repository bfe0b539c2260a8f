//! Numbers in field values.

/// A number in decimal.
#[derive(Debug)]
pub struct Digits {
    digits: [u8; 20],
    from: usize,
}

impl Digits {
    /// The digits of a number.
    pub fn of(mut number: u64) -> Self {
        let (mut digits, mut from) = ([0_u8; 20], 20);
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + (number % 10) as u8;
            number /= 10;
            from -= 1;
            if number == 0 {
                break;
            }
        }
        Self { digits, from }
    }

    /// They as they are written.
    pub fn as_bytes(&self) -> &[u8] {
        self.digits.get(self.from..).unwrap_or_default()
    }
}

/// Writes a number in decimal.
pub fn write_number(number: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(Digits::of(number).as_bytes());
}
