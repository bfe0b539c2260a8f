//! Bytes on their way out.

/// Frames that were made and not written yet.
#[derive(Debug, Default)]
pub struct Output {
    bytes: Vec<u8>,
    /// How much of it is written.
    written: usize,
    /// How much was written before it.
    before: u64,
}

/// What it begins with: a response with a small body fits.
const LEAST: usize = 1024;
/// What is kept of its memory when all of it is written.
const KEPT: usize = 16 * 1024;

impl Output {
    /// What is to be written.
    pub fn waiting(&self) -> &[u8] {
        self.bytes.get(self.written..).unwrap_or_default()
    }

    /// The first `length` bytes of it are written.
    pub fn advance(&mut self, length: usize) {
        self.written = (self.written + length).min(self.bytes.len());
        if self.written == self.bytes.len() {
            self.before += self.written as u64;
            self.written = 0;
            self.bytes.clear();
        } else if self.written > self.bytes.len() / 2 {
            self.before += self.written as u64;
            self.bytes.drain(..self.written);
            self.written = 0;
        }
    }

    /// Gives memory back: all of it where nothing is under way.
    pub fn rest(&mut self, is_idle: bool) {
        if self.bytes.is_empty() {
            self.bytes.shrink_to(if is_idle { 0 } else { KEPT });
        }
    }

    /// Where frames are added.
    pub fn end(&mut self) -> &mut Vec<u8> {
        if self.bytes.capacity() == 0 {
            self.bytes.reserve(LEAST);
        }
        &mut self.bytes
    }

    /// How many bytes are written.
    pub fn written_to(&self) -> u64 {
        self.before + self.written as u64
    }

    /// How many bytes came before the next, written or not.
    pub fn position(&self) -> u64 {
        self.before + self.bytes.len() as u64
    }

    /// The byte at a position, if it is not written yet.
    pub fn byte_at(&mut self, position: u64) -> Option<&mut u8> {
        let at = usize::try_from(position.checked_sub(self.before)?).ok()?;
        self.bytes.get_mut(at).filter(|_| at >= self.written)
    }

    /// Bytes of memory that it holds.
    pub fn memory(&self) -> usize {
        self.bytes.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_can_be_changed_until_it_is_written() {
        let mut output = Output::default();
        output.end().extend_from_slice(b"abcdef");
        let position = output.position() - 1;
        output.advance(4);
        assert_eq!((output.waiting(), output.written_to()), (&b"ef"[..], 4));
        *output.byte_at(position).unwrap() = b'F';
        assert_eq!(output.byte_at(3), None);
        assert_eq!(output.waiting(), b"eF");
        output.advance(2);
        assert_eq!(output.byte_at(position), None);
        assert_eq!(output.position(), 6);
        output.end().push(b'g');
        assert_eq!(output.byte_at(6), Some(&mut b'g'));
    }
}
