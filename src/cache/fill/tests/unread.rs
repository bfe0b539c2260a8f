//! Fills whose readers leave.

use super::*;

/// Who has no use for a body need not read it then, so that it comes to its end.
#[test]
fn what_is_open_or_kept_goes_on_without_readers() {
    for (is_open, is_kept) in [(false, false), (false, true), (true, false)] {
        let fills = Fills::new(BOUNDS);
        let (mut source, reader) = lead(&fills, "/a");
        assert!(!reader.goes_on_unread(), "nothing has come");
        source.answer(fresh(is_open));
        source.set_kept(is_kept);
        let goes_on = reader.goes_on_unread();
        assert_eq!(goes_on, is_open || is_kept);
        drop(reader);
        let room = source.poll_room(&mut Context::from_waker(Waker::noop()));
        assert_eq!(room, Poll::Ready(goes_on), "{is_open} {is_kept}");
    }
}
