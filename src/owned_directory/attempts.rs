//! When a folder is tried again that cannot be opened yet.

use std::{
    io,
    time::{Duration, Instant},
};

/// Attempts at a folder that another program has still: one after the other at short intervals, and at longer ones where
/// something else is wrong. That may pass too: there was no room, or no descriptor.
#[derive(Debug)]
pub struct Attempts {
    pause: Duration,
    complained: Option<Instant>,
}

impl Default for Attempts {
    fn default() -> Self {
        Self { pause: AGAIN, complained: None }
    }
}

impl Attempts {
    /// Waits for the time of the next one.
    pub fn pause(&self) {
        std::thread::sleep(self.pause);
    }

    /// One has failed; whether that is to be said.
    pub fn failed(&mut self, error: &io::Error) -> bool {
        if error.kind() == io::ErrorKind::WouldBlock {
            self.pause = AGAIN;
            return false;
        }
        self.pause = (self.pause * 2).min(SELDOM);
        let is_said = self.complained.is_some_and(|last| last.elapsed() < COMPLAINT);
        if !is_said {
            self.complained = Some(Instant::now());
        }
        !is_said
    }
}

/// How often a folder is tried that another program has still.
const AGAIN: Duration = Duration::from_millis(100);
/// How long it is left alone at most where something else is wrong with it.
const SELDOM: Duration = Duration::from_secs(5);
/// How often that is said.
const COMPLAINT: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lasting_error_is_said_once_in_a_while() {
        let mut attempts = Attempts::default();
        let said = [(); 3].map(|()| attempts.failed(&io::ErrorKind::StorageFull.into()));
        assert_eq!((said, attempts.pause), ([true, false, false], 8 * AGAIN));
        assert!(!attempts.failed(&io::ErrorKind::WouldBlock.into()));
        assert_eq!(attempts.pause, AGAIN);
    }
}
