//! A body that another stands for: it is read behind that one, and goes nowhere.

use std::task::{Context, Poll, ready};

use super::staged::Blocks;
use crate::net::BodyFrame;

/// Most bytes that are read of it. A new connection costs less than more than that.
const MOST: u64 = 64 * 1024;

/// A body that another stands for. It is read to its end all the same, so that the connection over which it comes serves
/// again: one that a client is about to log in (NTLM) is of no use to it when it is closed at each step.
#[derive(Debug)]
pub(in crate::http) struct Unwanted<S> {
    /// Where it comes from.
    pub(super) source: S,
    /// How many bytes may come of it still.
    left: u64,
}

impl<S: Blocks> Unwanted<S> {
    /// This body, of this length where that is known; `None` where it is longer than is read.
    pub(super) fn of(source: S, length: Option<u64>) -> Option<Self> {
        length.is_none_or(|length| length <= MOST).then_some(Self { source, left: MOST })
    }

    /// Reads what is left of it. Whether it came to its end; false where it is too long, or broke off.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        loop {
            match ready!(self.source.poll_next(cx)) {
                Ok(BodyFrame::Data(block)) => match self.left.checked_sub(block.len() as u64) {
                    Some(left) => self.left = left,
                    None => return Poll::Ready(false),
                },
                Ok(BodyFrame::End(_)) => return Poll::Ready(true),
                Err(_) => return Poll::Ready(false),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;
    use crate::{
        error::{Kind, Result},
        net::Buffer,
    };

    /// So many blocks of a KiB, behind each of which nothing comes for a moment, and then the end, or none.
    struct Slow {
        blocks: usize,
        is_next: bool,
        is_broken: bool,
    }

    impl Blocks for Slow {
        fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Result<BodyFrame>> {
            self.is_next = !self.is_next;
            if !self.is_next {
                return Poll::Pending;
            }
            if self.blocks > 0 {
                self.blocks -= 1;
                return Poll::Ready(Ok(BodyFrame::Data(Buffer::of(vec![0; 1024]))));
            }
            Poll::Ready(if self.is_broken { Err(Kind::BodyBroken.into()) } else { Ok(BodyFrame::End(None)) })
        }
    }

    #[test]
    fn a_body_is_read_to_an_end_that_is_near() {
        for (blocks, is_broken, length, expected) in [
            (0, false, Some(0), Some(true)),
            (3, false, Some(3072), Some(true)),
            (64, false, None, Some(true)),
            (65, false, None, Some(false)),
            (3, true, Some(4096), Some(false)),
            (65, false, Some(65 * 1024), None),
        ] {
            let body = Unwanted::of(Slow { blocks, is_next: false, is_broken }, length);
            let came = body.map(|mut body| {
                let mut cx = Context::from_waker(Waker::noop());
                loop {
                    if let Poll::Ready(came) = body.poll(&mut cx) {
                        return came;
                    }
                }
            });
            assert_eq!(came, expected, "{blocks} {length:?}");
        }
    }
}
