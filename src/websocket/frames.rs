//! Where frames end (RFC 6455 §5.2), in bytes that come in pieces cut anywhere.
//!
//! A close frame of ours may be put between two frames of others, and nowhere else: in the middle of one it would be taken
//! for a part of a message.

/// How far one direction of a WebSocket is.
#[derive(Clone, Debug, Default)]
pub struct Frames {
    /// The beginning of a frame, as far as it came.
    head: [u8; MOST_HEAD],
    /// How much of it came; 0 between heads.
    came: u8,
    /// Bytes of the frame that are to come behind its head.
    left: u64,
    /// A close frame has begun: nothing may follow it (§5.5.1).
    has_closed: bool,
    /// What came is no frame: where the next begins cannot be known.
    is_lost: bool,
}

/// Two bytes, a length of eight, a mask of four.
const MOST_HEAD: usize = 14;

/// The code that says that an end is going away (RFC 6455 §7.4.1).
pub const GOING_AWAY: u16 = 1001;

const CLOSE: u8 = 0x8;
const MASKED: u8 = 0x80;

impl Frames {
    /// Takes bytes up to the end of the frame that is under way; gives how many that were. What is left begins the next.
    pub fn take(&mut self, bytes: &[u8]) -> usize {
        if self.is_lost {
            return bytes.len();
        }
        let mut used = 0;
        if self.left == 0 {
            for byte in bytes {
                if let Some(place) = self.head.get_mut(usize::from(self.came)) {
                    *place = *byte;
                }
                (self.came, used) = (self.came + 1, used + 1);
                if usize::from(self.came) == self.head_length() {
                    self.begin();
                    break;
                }
            }
        }
        let here = bytes.len() - used;
        let payload = usize::try_from(self.left).map_or(here, |left| left.min(here));
        self.left -= payload as u64;
        used + payload
    }

    /// Takes all of these bytes.
    pub fn take_all(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let used = self.take(bytes);
            bytes = bytes.get(used..).unwrap_or_default();
        }
    }

    /// Whether a frame has just ended, or none has begun.
    pub fn is_between(&self) -> bool {
        self.came == 0 && self.left == 0 && !self.is_lost
    }

    /// Whether a close frame has gone by.
    pub fn has_closed(&self) -> bool {
        self.has_closed
    }

    /// How long the head is, as far as it can be known: more, where more of it must come first.
    fn head_length(&self) -> usize {
        let [_, second, ..] = self.head;
        if self.came < 2 {
            return 2;
        }
        let length = match second & !MASKED {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        2 + length + if second & MASKED == 0 { 0 } else { 4 }
    }

    /// The head is whole.
    fn begin(&mut self) {
        let [first, second, a, b, c, d, e, f, g, h, ..] = self.head;
        self.left = match second & !MASKED {
            126 => u64::from(u16::from_be_bytes([a, b])),
            127 => u64::from_be_bytes([a, b, c, d, e, f, g, h]),
            little => u64::from(little),
        };
        // §5.2: its highest bit is 0.
        self.is_lost = self.left > u64::MAX >> 1;
        if self.is_lost {
            self.left = 0;
        }
        self.has_closed |= first & 0xf == CLOSE;
        self.came = 0;
    }
}

/// A close frame with this code; what a client sends is masked (§5.3).
pub fn close_frame(code: u16, is_of_client: bool) -> Vec<u8> {
    let [high, low] = code.to_be_bytes();
    if !is_of_client {
        return vec![0x80 | CLOSE, 2, high, low];
    }
    let [a, b, c, d] = fastrand::u32(..).to_be_bytes();
    vec![0x80 | CLOSE, MASKED | 2, a, b, c, d, high ^ a, low ^ b]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame with a payload of this length.
    fn frame(opcode: u8, length: usize, is_masked: bool) -> Vec<u8> {
        let mask = if is_masked { MASKED } else { 0 };
        let mut frame = vec![0x80 | opcode];
        match length {
            0..126 => frame.push(mask | length as u8),
            126..65_536 => {
                frame.push(mask | 126);
                frame.extend((length as u16).to_be_bytes());
            }
            _ => {
                frame.push(mask | 127);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        frame.extend(if is_masked { &b"mask"[..] } else { b"" });
        // Bytes that would be heads of frames where they are taken for them.
        frame.resize(frame.len() + length, 0xff);
        frame
    }

    #[test]
    fn ends_are_found_wherever_bytes_are_cut() {
        let lengths = [0, 1, 125, 126, 127, 300, 65_535, 65_536, 70_000, 0, 2];
        for seed in 0..200 {
            let mut random = fastrand::Rng::with_seed(seed);
            let (mut all, mut ends) = (Vec::new(), vec![0]);
            for _ in 0..12 {
                all.extend(frame(random.u8(0..3), lengths[random.usize(..lengths.len())], random.bool()));
                ends.push(all.len());
            }
            let (mut frames, mut at) = (Frames::default(), 0);
            while at < all.len() {
                let most = if random.bool() { 3 } else { 50_000 };
                let cut = (at + random.usize(1..=most)).min(all.len());
                while at < cut {
                    let used = frames.take(&all[at..cut]);
                    assert!(used > 0, "seed {seed}");
                    at += used;
                    assert_eq!(frames.is_between(), ends.contains(&at), "seed {seed}, byte {at}");
                }
            }
            assert!(!frames.has_closed(), "seed {seed}");
        }
    }

    #[test]
    fn a_close_frame_is_noticed_and_ours_are_frames() {
        for is_of_client in [false, true] {
            let ours = close_frame(GOING_AWAY, is_of_client);
            let mut frames = Frames::default();
            assert_eq!(frames.take(&ours), ours.len());
            assert!(frames.is_between() && frames.has_closed());
        }
        assert_eq!(close_frame(GOING_AWAY, false), [0x88, 2, 3, 0xe9]);
        let masked = close_frame(GOING_AWAY, true);
        assert_eq!([masked[6] ^ masked[2], masked[7] ^ masked[3]], [3, 0xe9]);
    }

    #[test]
    fn what_is_no_frame_has_no_end() {
        let mut frames = Frames::default();
        frames.take_all(&[0x82, 127, 0xff, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3]);
        assert!(!frames.is_between());
        frames.take_all(&frame(1, 5, false));
        assert!(!frames.is_between());
    }
}
