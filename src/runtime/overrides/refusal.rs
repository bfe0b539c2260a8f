//! Why a change is not made, or anything else that an administrator asks for.

use std::fmt;

/// What kind of refusal one is; the admin API has a status for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// What is to be changed is not there.
    NotFound,
    /// It does not agree with what is there.
    Conflict,
    /// It would never be good.
    Invalid,
    /// The program stops, and changes nothing any more.
    Stopping,
    /// It failed in a way that is no fault of whoever asks.
    Failed,
}

/// Why a change is not made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What kind it is.
    pub reason: Reason,
    /// A word for programs.
    pub code: &'static str,
    /// What is wrong, for people.
    pub message: String,
    /// What to do about it.
    pub hint: String,
}

impl Refusal {
    pub(super) fn new(reason: Reason, code: &'static str, message: String, hint: &str) -> Self {
        Self { reason, code, message, hint: hint.to_owned() }
    }

    /// The program stops, and changes nothing any more.
    pub fn stopping() -> Self {
        let hint = "ask the program that took its place";
        Self::new(Reason::Stopping, "stopping", "the program is stopping".to_owned(), hint)
    }

    pub(super) fn conflict(code: &'static str, message: String, hint: &str) -> Self {
        Self::new(Reason::Conflict, code, message, hint)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.message, self.hint)
    }
}

impl std::error::Error for Refusal {}
