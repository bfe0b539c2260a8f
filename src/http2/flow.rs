//! Windows of flow control (RFC 9113 §5.2, §6.9), of a stream or of the connection.

/// The window that every stream and connection begins with (RFC 9113 §6.9.2).
pub const DEFAULT_WINDOW: u32 = 65_535;
/// The largest window (§6.9.1).
pub const MOST_WINDOW: i64 = (1 << 31) - 1;

/// How much may be sent. It can be negative, after the other end's settings made it smaller.
#[derive(Clone, Copy, Debug)]
pub struct SendWindow {
    room: i64,
    /// What was sent.
    pub sent: Sent,
}

impl SendWindow {
    /// A window of so many bytes.
    pub fn new(bytes: u32) -> Self {
        Self { room: i64::from(bytes), sent: Sent::default() }
    }

    /// Bytes that may be sent now.
    pub fn room(self) -> usize {
        usize::try_from(self.room).unwrap_or(0)
    }

    /// Bytes are sent.
    pub fn take(&mut self, bytes: usize) {
        self.room -= i64::try_from(bytes).unwrap_or(i64::MAX);
        self.sent.0 = self.sent.0.saturating_add(bytes as u64);
    }

    /// The other end changes it; false where it would be larger than a window may be.
    #[must_use]
    pub fn change(&mut self, by: i64) -> bool {
        self.room += by;
        self.room <= MOST_WINDOW
    }
}

/// Bytes that were sent, and that the other end has not given back by opening its window again.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sent(u64);

/// An increment that is smaller has more of a frame than of a body. Libraries that tell of each read, such as Go's, tell of
/// 4 KiB at least.
const LEAST_INCREMENT: u32 = 1024;

impl Sent {
    /// Whether an increment gives back some of it, in pieces of a size that makes sense: there are no more of those than
    /// were asked for by what was sent.
    pub fn give_back(&mut self, increment: u32) -> bool {
        let left = self.0.checked_sub(u64::from(increment)).filter(|_| increment >= LEAST_INCREMENT);
        self.0 = left.unwrap_or(self.0);
        left.is_some()
    }

    /// What was sent elsewhere is given back here.
    pub fn add(&mut self, other: Self) {
        self.0 = self.0.saturating_add(other.0);
    }
}

/// How much the other end may send, and what it is to be told of it.
#[derive(Clone, Copy, Debug)]
pub struct ReceiveWindow {
    /// What it may still send; less than nothing after our settings made it smaller.
    left: i64,
    /// What went on, and was not told yet.
    untold: u32,
    /// Told when so much has come together.
    step: u32,
}

impl ReceiveWindow {
    /// A window of so many bytes that the other end knows of. What went on is told by quarters.
    pub fn new(bytes: u32) -> Self {
        Self { left: i64::from(bytes), untold: 0, step: (bytes / 4).max(1) }
    }

    /// A window of so many bytes, by settings that the other end may not know yet: until it does, it may send as much as
    /// every stream begins with (§6.9.3).
    pub fn unknown(bytes: u32) -> Self {
        Self { left: i64::from(bytes.max(DEFAULT_WINDOW)), ..Self::new(bytes) }
    }

    /// The other end knows now that [`ReceiveWindow::unknown`] was of so many bytes.
    pub fn become_known(&mut self, bytes: u32) {
        self.left -= i64::from(DEFAULT_WINDOW.saturating_sub(bytes));
    }

    /// Bytes came; false where they are more than was allowed.
    #[must_use]
    pub fn take(&mut self, bytes: usize) -> bool {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        // §6.9: what is empty may come though there is no room.
        let is_allowed = bytes == 0 || bytes <= self.left;
        self.left = if is_allowed { self.left - bytes } else { 0 };
        is_allowed
    }

    /// Bytes went on: the increment that the other end is to be told now, if it is.
    pub fn give(&mut self, bytes: usize) -> Option<u32> {
        self.untold = self.untold.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
        if self.untold < self.step {
            return None;
        }
        self.left += i64::from(self.untold);
        Some(std::mem::take(&mut self.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_send_window_may_be_negative_and_never_too_large() {
        let mut window = SendWindow::new(100);
        window.take(60);
        assert!(window.change(-100));
        assert_eq!((window.room(), window.room), (0, -60));
        assert!(window.change(70));
        assert_eq!(window.room(), 10);
        assert!(window.change(MOST_WINDOW - 10));
        assert!(!window.change(1));
    }

    #[test]
    fn what_was_sent_is_given_back_once_and_in_pieces() {
        let mut window = SendWindow::new(10_000);
        assert!(!window.sent.give_back(1024), "nothing was sent");
        window.take(5000);
        assert!(!window.sent.give_back(1023), "a dribble");
        assert!(!window.sent.give_back(5001), "more than was sent");
        assert!(window.sent.give_back(1024) && window.sent.give_back(3976));
        assert!(!window.sent.give_back(1024));
        let mut all = Sent::default();
        window.take(1024);
        all.add(window.sent);
        assert!(all.give_back(1024) && !all.give_back(1024));
    }

    #[test]
    fn a_receive_window_tells_by_quarters_and_notices_too_much() {
        let mut window = ReceiveWindow::new(100);
        assert!(window.take(90));
        assert_eq!(window.give(24), None);
        assert_eq!(window.give(1), Some(25));
        assert!(window.take(35));
        assert!(!window.take(1));
    }
}
