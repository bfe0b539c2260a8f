//! What the frames of Initial packets carry of a handshake (RFC 9000 §19.6), put together from pieces in any order. Pure.

use super::packet::number;
use crate::l4::hello::MOST_HELLO;

/// Most bytes of the stream: a ClientHello and what says its length.
const MOST: usize = MOST_HELLO + 4;

/// A part of the stream, with what is missing left out.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    bytes: Vec<u8>,
    /// Of each byte, whether it is there.
    is_there: Vec<bool>,
    /// Bytes from the beginning without a gap.
    whole: usize,
}

/// Frames say something that no client says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Broken;

impl Pieces {
    /// What there is from the beginning, without a gap.
    pub(super) fn whole(&self) -> &[u8] {
        self.bytes.get(..self.whole).unwrap_or_default()
    }

    /// Bytes of memory.
    pub(super) fn held(&self) -> usize {
        self.bytes.capacity() + self.is_there.capacity()
    }

    /// Takes what the frames of a packet have. It takes time for each byte of it once.
    pub(super) fn take(&mut self, mut frames: &[u8]) -> Result<(), Broken> {
        while let Some((kind, rest)) = frames.split_first() {
            frames = match kind {
                // PADDING and PING.
                0 | 1 => rest,
                2 | 3 => acknowledgement(rest, *kind == 3).ok_or(Broken)?,
                6 => {
                    let (at, length, rest) = two(rest).ok_or(Broken)?;
                    let (data, rest) = rest.split_at_checked(length).ok_or(Broken)?;
                    self.put(at, data)?;
                    rest
                }
                // Others there are, such as the end of the connection, and no ClientHello comes after them.
                _ => return Err(Broken),
            };
        }
        while self.is_there.get(self.whole) == Some(&true) {
            self.whole += 1;
        }
        Ok(())
    }

    fn put(&mut self, at: usize, data: &[u8]) -> Result<(), Broken> {
        let end = at.checked_add(data.len()).filter(|end| *end <= MOST).ok_or(Broken)?;
        if end > self.bytes.len() {
            self.bytes.resize(end, 0);
            self.is_there.resize(end, false);
        }
        let (bytes, is_there) = (self.bytes.get_mut(at..end), self.is_there.get_mut(at..end));
        let places = bytes.into_iter().flatten().zip(is_there.into_iter().flatten());
        for ((byte, is_there), new) in places.zip(data) {
            // Which of two the backend takes, nobody knows, and one could name another server.
            if std::mem::replace(is_there, true) && *byte != *new {
                return Err(Broken);
            }
            *byte = *new;
        }
        Ok(())
    }
}

fn two(bytes: &[u8]) -> Option<(usize, usize, &[u8])> {
    let (one, rest) = number(bytes)?;
    let (two, rest) = number(rest)?;
    Some((one, two, rest))
}

/// What follows an ACK frame (RFC 9000 §19.3).
fn acknowledgement(rest: &[u8], has_ecn: bool) -> Option<&[u8]> {
    let (_, _, rest) = two(rest)?;
    let (ranges, _, mut rest) = two(rest)?;
    for _ in 0..ranges {
        (_, _, rest) = two(rest)?;
    }
    if has_ecn {
        (_, _, rest) = two(rest)?;
        (_, rest) = number(rest)?;
    }
    Some(rest)
}

#[cfg(test)]
pub(super) fn frame(at: usize, data: &[u8]) -> Vec<u8> {
    let number = |value: usize| (u32::try_from(value).unwrap() | 0x8000_0000).to_be_bytes();
    [&[6][..], &number(at), &number(data.len()), data].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every order of so many things, by turns.
    fn orders(count: usize) -> Vec<Vec<usize>> {
        if count == 0 {
            return vec![Vec::new()];
        }
        let shorter = orders(count - 1);
        let places = |order: &Vec<usize>| -> Vec<Vec<usize>> {
            let with = |place| [&order[..place], &[count - 1], &order[place..]].concat();
            (0..count).map(with).collect()
        };
        shorter.iter().flat_map(places).collect()
    }

    #[test]
    fn pieces_in_every_order_and_twice_are_the_same() {
        let bytes: Vec<u8> = (0..70).collect();
        let cuts = [0_usize, 1, 5, 20, 21, 50, 70];
        let all = orders(cuts.len() - 1);
        assert_eq!(all.len(), 720);
        for order in all {
            let mut pieces = Pieces::default();
            for part in order {
                // One that overlaps those beside it, padding around, and an acknowledgement.
                let (from, to) = (cuts[part].saturating_sub(1), cuts[part + 1]);
                let own = frame(from, &bytes[from..to]);
                let packet = [&[0, 1, 2, 4, 0, 1, 0, 0, 0][..], &own, &own, &[0; 9]].concat();
                pieces.take(&packet).unwrap();
                assert_eq!(pieces.whole(), &bytes[..pieces.whole().len()]);
            }
            assert_eq!(pieces.whole(), bytes);
        }
    }

    #[test]
    fn what_no_client_says_is_refused() {
        let mut pieces = Pieces::default();
        pieces.take(&frame(3, b"abc")).unwrap();
        for frames in [frame(4, b"B"), frame(MOST, b"x"), vec![6, 0, 9, 1], vec![0x1c], vec![2, 0], vec![6]] {
            assert_eq!(pieces.take(&frames), Err(Broken), "{frames:?}");
        }
        pieces.take(&[&frame(0, b"012")[..], &[3, 1, 1, 0, 1, 1, 2, 3]].concat()).unwrap();
        assert_eq!(pieces.whole(), b"012abc");
        assert!(pieces.held() < 100);
    }
}
