//! Elements of DER (X.690), as much as a certificate needs.

/// Elements one after another.
#[derive(Clone, Copy)]
pub(super) struct Der<'d>(pub(super) &'d [u8]);

impl<'d> Der<'d> {
    /// Tag and contents of the next element.
    pub(super) fn next(&mut self) -> Option<(u8, &'d [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            // No certificate is longer than four bytes can say; a length of its own accord is not DER.
            0x81..=0x84 => {
                let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                (digits.iter().fold(0, |length, digit| (length << 8) | usize::from(*digit)), rest)
            }
            _ => return None,
        };
        let (contents, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, contents))
    }

    /// The contents of the first element, which has to have this tag.
    pub(super) fn expect(mut self, tag: u8) -> Option<Self> {
        self.next().filter(|(is, _)| *is == tag).map(|(_, contents)| Self(contents))
    }
}

/// The text of a string.
pub(super) fn text(tag: u8, bytes: &[u8]) -> String {
    if tag != BMP_STRING {
        return String::from_utf8_lossy(bytes).into_owned();
    }
    let units =
        bytes.chunks_exact(2).map(|pair| pair.iter().fold(0, |unit, byte| (unit << 8) | u16::from(*byte)));
    char::decode_utf16(units).map(|sign| sign.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
}

const BMP_STRING: u8 = 0x1e;
