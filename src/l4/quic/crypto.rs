//! What the frames of Initial packets carry of a handshake (RFC 9000 §19.6), put together from pieces in any order. Pure.

use super::packet::number;
use crate::l4::hello::MOST_HELLO;

/// Most bytes of the stream: a ClientHello and what says its length.
const MOST: usize = MOST_HELLO + 4;

/// Bytes of the stream that are kept together where one before them is missing.
const BLOCK: usize = 64;

/// No block.
const NONE: u16 = u16::MAX;

/// A part of the stream, with what is missing left out: a byte far from the beginning takes a block, and not the way there.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    /// What there is from the beginning, without a gap.
    whole: Vec<u8>,
    /// By their place in the stream, where among the blocks they are.
    places: Vec<u16>,
    /// What came while something before it was missing, in the order in which it came.
    blocks: Vec<Block>,
}

/// Bytes of the stream that stand side by side.
#[derive(Debug)]
struct Block {
    bytes: [u8; BLOCK],
    /// Bit n: byte n is there.
    is_there: u64,
}

/// Frames say something that no client says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Broken;

impl Pieces {
    /// What there is from the beginning, without a gap.
    pub(super) fn whole(&self) -> &[u8] {
        &self.whole
    }

    /// Bytes of memory.
    pub(super) fn held(&self) -> usize {
        let places = self.places.capacity() * size_of::<u16>();
        self.whole.capacity() + places + self.blocks.capacity() * size_of::<Block>()
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
        while let Some(byte) = self.ahead(self.whole.len()) {
            self.whole.push(byte);
        }
        Ok(())
    }

    fn put(&mut self, at: usize, data: &[u8]) -> Result<(), Broken> {
        let end = at.checked_add(data.len()).filter(|end| *end <= MOST).ok_or(Broken)?;
        let (known, new) = data.split_at(self.whole.len().saturating_sub(at).min(data.len()));
        let at = at + known.len();
        // Which of two the backend takes, nobody knows, and one could name another server.
        if !known.is_empty() && self.whole.get(at - known.len()..at) != Some(known) {
            return Err(Broken);
        }
        if at == self.whole.len() && self.blocks.is_empty() {
            self.whole.extend_from_slice(new);
            return Ok(());
        }
        (at..end).zip(new).try_for_each(|(place, new)| self.put_ahead(place, *new))
    }

    /// Keeps a byte before which one may be missing.
    fn put_ahead(&mut self, place: usize, new: u8) -> Result<(), Broken> {
        let number = place / BLOCK;
        if number >= self.places.len() {
            self.places.resize(number + 1, NONE);
        }
        let found = self.places.get_mut(number).ok_or(Broken)?;
        if *found == NONE {
            *found = u16::try_from(self.blocks.len()).map_err(|_| Broken)?;
            if self.blocks.len() == self.blocks.capacity() {
                // By no more than these: there are but 257, and many clients who have one.
                self.blocks.reserve_exact(8);
            }
            self.blocks.push(Block { bytes: [0; BLOCK], is_there: 0 });
        }
        let block = self.blocks.get_mut(usize::from(*found)).ok_or(Broken)?;
        let (byte, bit) = (block.bytes.get_mut(place % BLOCK).ok_or(Broken)?, 1 << (place % BLOCK));
        if block.is_there & bit != 0 && *byte != new {
            return Err(Broken);
        }
        *byte = new;
        block.is_there |= bit;
        Ok(())
    }

    /// A byte of the blocks.
    fn ahead(&self, place: usize) -> Option<u8> {
        let found = usize::from(*self.places.get(place / BLOCK)?);
        let block = self.blocks.get(found).filter(|block| block.is_there & 1 << (place % BLOCK) != 0)?;
        block.bytes.get(place % BLOCK).copied()
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
    use proptest::prelude::*;

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
    }

    #[test]
    fn a_byte_far_away_takes_no_room_for_gaps() {
        let mut pieces = Pieces::default();
        pieces.take(&frame(MOST - 1, b"x")).unwrap();
        assert!(pieces.held() < 1200, "{} bytes", pieces.held());
        // A byte in each block, and it is little more than all of the stream.
        for at in (0..MOST - 1).rev().step_by(5) {
            pieces.take(&frame(at, b"x")).unwrap();
        }
        assert!(pieces.held() < 20 * 1024, "{} bytes", pieces.held());
        let mut in_order = Pieces::default();
        in_order.take(&frame(0, b"01")).unwrap();
        in_order.take(&[frame(2, b"2345"), frame(4, b"4567")].concat()).unwrap();
        assert_eq!((in_order.whole(), in_order.blocks.len()), (&b"01234567"[..], 0));
        assert_eq!(in_order.take(&frame(7, b"89")), Err(Broken), "another byte than the one before");
    }

    proptest! {
        #[test]
        fn pieces_agree_where_they_are_of_one_stream(
            cuts in proptest::collection::vec((0_usize..700, 1_usize..200), 1..40), other in 0_usize..700
        ) {
            let bytes: Vec<u8> = (0..900_u16).map(|at| u8::try_from(at % 251).unwrap()).collect();
            let (mut pieces, mut is_there) = (Pieces::default(), vec![false; bytes.len()]);
            for (from, length) in cuts {
                pieces.take(&frame(from, &bytes[from..from + length])).unwrap();
                is_there[from..from + length].fill(true);
                let whole = is_there.iter().position(|is_there| !is_there).unwrap();
                prop_assert_eq!(pieces.whole(), &bytes[..whole]);
            }
            let is_taken = pieces.take(&frame(other, &[bytes[other] ^ 1])).is_ok();
            prop_assert_eq!(is_taken, !is_there[other]);
        }
    }
}
