//! The head of a response, from its list of fields (RFC 9113 §8.3.2).

use super::{
    hpack::{CompressionError, Decoder},
    reading::Reading,
    spare,
};
use crate::{
    error::Kind,
    h1::{HeadLimits, ResponseHead, framing::content_length},
};

/// The head of a response, and the length of its body where it says one.
#[derive(Debug)]
pub(super) struct ReadHead {
    pub(super) head: ResponseHead,
    pub(super) length: Option<u64>,
}

/// What is wrong with a response whose head is larger than may be.
pub const HEAD_TOO_LARGE: &str = "the response head is too large";

/// Reads the list of fields of a response. The inner `Err` says why it is not one that goes on; the outer one is of the
/// connection.
pub(super) fn read(
    decoder: &mut Decoder,
    block: &[u8],
    limits: HeadLimits,
) -> Result<Result<ReadHead, &'static str>, CompressionError> {
    let mut head = spare::response();
    let mut reading = Reading::new(limits);
    decoder.decode(block, |name, value| {
        if !reading.count(name, value) {
            return;
        }
        if name.first() == Some(&b':') {
            take_pseudo(&mut reading, &mut head, name, value);
            return;
        }
        match reading.field(name, value) {
            Some(known) if name.len() <= usize::from(u16::MAX) => head.fields.push_tagged(known, name, value),
            // Names beyond what fields can hold are larger than any head.
            Some(_) => reading.note(Kind::HeadTooLarge),
            None => {}
        }
    })?;
    if head.fields.len() > limits.fields {
        reading.note(Kind::HeadTooLarge);
    }
    Ok(match reading.problem {
        Some(Kind::Malformed(what)) => Err(what),
        Some(_) => Err(HEAD_TOO_LARGE),
        None if head.status == 0 => Err("a response without a status"),
        None => content_length(&head.fields).map(|length| ReadHead { head, length }),
    })
}

fn take_pseudo(reading: &mut Reading, head: &mut ResponseHead, name: &[u8], value: &[u8]) {
    if reading.is_regular {
        return reading.malformed("a pseudo-header field comes after a regular field");
    }
    if name != b":status" {
        return reading.malformed("an unknown pseudo-header field");
    }
    if head.status != 0 {
        return reading.malformed("a pseudo-header field appears twice");
    }
    match *value {
        [a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9'] => {
            head.status = u16::from(a - b'0') * 100 + u16::from(b - b'0') * 10 + u16::from(c - b'0');
        }
        _ => reading.malformed("the status is invalid"),
    }
}
