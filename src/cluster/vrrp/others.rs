//! Who else is in a virtual router, as far as that can be known: a backup says nothing.

use std::net::IpAddr;

/// The other routers of which an advertisement was heard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Others {
    /// Nobody was heard.
    #[default]
    Unknown,
    /// This one, and no other.
    One(IpAddr),
    /// More than one: they are not forgotten, since who is a backup now says nothing either.
    Several,
}

impl Others {
    /// One of them was heard.
    pub(super) fn meet(&mut self, source: IpAddr) {
        *self = match *self {
            Self::Unknown => Self::One(source),
            Self::One(known) if known == source => return,
            Self::One(_) | Self::Several => Self::Several,
        };
    }

    /// Whether exactly one was heard.
    pub(super) fn is_one(self) -> bool {
        matches!(self, Self::One(_))
    }
}
