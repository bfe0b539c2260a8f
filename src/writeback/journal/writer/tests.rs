//! The writer without its thread: one group after the other.

use std::sync::mpsc::channel;

use super::*;
use crate::writeback::journal::{
    replay,
    tests::{Scratch, write},
};

/// The writer of a journal whose segments are full with the first record.
fn open(scratch: &Scratch) -> Writer {
    let options = scratch.options(1 << 20, 1);
    let folder = Folder::open(&options.path).unwrap();
    let replayed = replay::replay(&folder).unwrap();
    Writer::new(folder, &options, Arc::default(), replayed)
}

/// Makes a group of these messages.
fn turn(writer: &mut Writer, messages: Vec<Message>) {
    let (sender, receiver) = channel();
    messages.into_iter().for_each(|message| sender.send(message).unwrap());
    writer.turn(None, &receiver, false);
}

fn append(uri: &str) -> Message {
    Message::Append(Box::new(write(uri, b"body")), oneshot::channel().0)
}

/// A group of deliveries fills a segment and is not synced; the next group's first step is to sync it and begin
/// another. That sync says nothing of what was taken since.
#[test]
fn deliveries_in_a_full_segment_do_not_come_back() {
    let scratch = Scratch::new();
    let mut writer = open(&scratch);
    // The third keeps the segment in which all of them are.
    turn(&mut writer, vec![append("/a"), append("/b"), append("/waits")]);
    let ids: Vec<Id> = writer.live.keys().copied().collect();
    for id in ids.into_iter().take(2) {
        turn(&mut writer, vec![Message::Complete(id, Outcome::Delivered)]);
    }
    turn(&mut writer, vec![Message::End]);
    drop(writer);
    let left: Vec<_> =
        open(&scratch).live.into_values().map(|live| live.entry.write.target.clone()).collect();
    assert_eq!(left, ["/waits"], "what was delivered before a clean stop is to be delivered again");
}
