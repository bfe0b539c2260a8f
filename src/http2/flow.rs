//! Windows of flow control (RFC 9113 §5.2, §6.9), of a stream or of the connection.

/// The window that every stream and connection begins with (RFC 9113 §6.9.2).
pub const DEFAULT_WINDOW: u32 = 65_535;
/// The largest window (§6.9.1).
pub const MOST_WINDOW: i64 = (1 << 31) - 1;

/// How much may be sent. It can be negative, after the other end's settings made it smaller.
#[derive(Clone, Copy, Debug)]
pub struct SendWindow(i64);

impl SendWindow {
    /// A window of so many bytes.
    pub fn new(bytes: u32) -> Self {
        Self(i64::from(bytes))
    }

    /// Bytes that may be sent now.
    pub fn room(self) -> usize {
        usize::try_from(self.0).unwrap_or(0)
    }

    /// Bytes are sent.
    pub fn take(&mut self, bytes: usize) {
        self.0 -= i64::try_from(bytes).unwrap_or(i64::MAX);
    }

    /// The other end changes it; false where it would be larger than a window may be.
    #[must_use]
    pub fn change(&mut self, by: i64) -> bool {
        self.0 += by;
        self.0 <= MOST_WINDOW
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
        assert_eq!((window.room(), window.0), (0, -60));
        assert!(window.change(70));
        assert_eq!(window.room(), 10);
        assert!(window.change(MOST_WINDOW - 10));
        assert!(!window.change(1));
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
