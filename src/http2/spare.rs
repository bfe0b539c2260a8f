//! Heads that were used, for the next that come: a worker keeps some for all its connections, so that one that waits holds
//! none, and one on which many requests come at once makes none anew.

use std::cell::RefCell;

use super::head::Head;
use crate::h1::{ResponseHead, Version};

/// Most that a worker keeps of each kind.
const MOST: usize = 64;
/// Bytes of memory beyond which one is not kept.
const LARGEST: usize = 4096;

thread_local! {
    #[expect(clippy::vec_box, reason = "heads are handed out boxed, and moved by pointer only")]
    static REQUESTS: RefCell<Vec<Box<Head>>> = const { RefCell::new(Vec::new()) };
    static RESPONSES: RefCell<Vec<ResponseHead>> = const { RefCell::new(Vec::new()) };
}

/// The head of a request, to be read into.
pub(super) fn request() -> Box<Head> {
    REQUESTS.with_borrow_mut(Vec::pop).unwrap_or_default()
}

/// Takes back a head of a request that is not needed any more.
pub fn recycle_request(head: Box<Head>) {
    if head.memory() <= LARGEST {
        let _ = REQUESTS.try_with(|spare| keep(&mut spare.borrow_mut(), head));
    }
}

/// The head of a response, of which nothing is said yet: its status is 0.
pub(super) fn response() -> ResponseHead {
    let mut head = RESPONSES.with_borrow_mut(Vec::pop).unwrap_or_default();
    (head.status, head.version) = (0, Version::default());
    head.fields.clear();
    head
}

/// Takes back a head of a response that is not needed any more.
pub fn recycle_response(head: ResponseHead) {
    if head.fields.memory() <= LARGEST {
        let _ = RESPONSES.try_with(|spare| keep(&mut spare.borrow_mut(), head));
    }
}

fn keep<T>(spare: &mut Vec<T>, head: T) {
    if spare.len() < MOST {
        spare.push(head);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_used_again_and_says_nothing_of_before() {
        let mut head = response();
        head.status = 404;
        head.fields.push("server", b"a");
        let memory = head.fields.memory();
        recycle_response(head);
        let head = response();
        assert_eq!((head.status, head.fields.len(), head.fields.memory()), (0, 0, memory));
    }

    #[test]
    fn few_heads_are_kept_and_none_that_is_large() {
        let mut large = response();
        large.fields.push("server", &[b'a'; 2 * LARGEST]);
        recycle_response(large);
        assert_eq!(RESPONSES.with_borrow(Vec::len), 0);
        (0..2 * MOST).for_each(|_| recycle_response(ResponseHead::default()));
        assert_eq!(RESPONSES.with_borrow(Vec::len), MOST);
        (0..2 * MOST).for_each(|_| recycle_request(Box::default()));
        assert_eq!(REQUESTS.with_borrow(Vec::len), MOST);
    }
}
