//! One question over a connection of its own, as checks ask it. It sets no deadline: who asks does.

use std::{
    future::poll_fn,
    task::{Context, Poll, ready},
};

use super::{backend::BackendConnection, link::Link, pipe::Pipe};
use crate::{
    fields::Fields,
    h1::HeadLimits,
    http2::{Body, Fault, Reason, RequestStart},
    net::{Buffer, Stream, poll_at_once},
};

/// What is asked.
#[derive(Clone, Debug)]
pub struct Question<'a> {
    /// Its pseudo-fields; `is_end` where it has no body.
    pub start: RequestStart<'a>,
    /// Its other fields.
    pub fields: &'a [(&'a str, &'a [u8])],
    /// Its body.
    pub body: &'a [u8],
    /// Whether the answer's body and trailers are waited for, and not its head alone.
    pub wants_body: bool,
    /// The bounds of its head.
    pub limits: HeadLimits,
}

/// What was answered.
#[derive(Debug, Default)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The fields of its head.
    pub fields: Fields,
    /// Its body, as far as it is small.
    pub body: Vec<u8>,
    /// Its trailers.
    pub trailers: Option<Box<Fields>>,
}

/// Bytes of an answer's body that are read.
const MOST: usize = 64 * 1024;

/// Asks, and gives the answer; the connection is ended then.
///
/// # Errors
///
/// What is wrong, in few words.
pub async fn ask(stream: Stream, question: &Question<'_>) -> Result<Answer, String> {
    let connection = BackendConnection::new(question.limits);
    let link = &connection.link;
    let mut pipe = Pipe::new(stream, Buffer::default());
    let mut asking = Asking { question, id: None, answer: Answer::default() };
    let result = poll_fn(|cx| {
        link.register(cx);
        loop {
            let read = pipe.poll_read(cx, link);
            if let Some(Err(error)) = pipe.take_input(link) {
                return Poll::Ready(Err(format!("the answer is not HTTP/2: {}", error.what)));
            }
            if let Poll::Ready(result) = asking.poll(link, cx) {
                return Poll::Ready(result);
            }
            if let Poll::Ready(Err(error)) = pipe.poll_write(cx, link) {
                return Poll::Ready(Err(error.to_string()));
            }
            match read {
                Poll::Ready(Ok(true)) => {}
                Poll::Ready(Ok(false)) => {
                    return Poll::Ready(Err("the connection was closed without an answer".into()));
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error.to_string())),
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await;
    link.codec().say_goaway();
    // As far as it goes at once: nobody waits for it.
    let _ = poll_at_once(|cx| pipe.poll_write(cx, link));
    pipe.stream.say_goodbye();
    result
}

/// How far a question is.
struct Asking<'a> {
    question: &'a Question<'a>,
    /// Its stream, once it is sent.
    id: Option<u32>,
    answer: Answer,
}

impl Asking<'_> {
    /// Ready with the answer, as far as it is wanted.
    fn poll(&mut self, link: &Link, cx: &mut Context<'_>) -> Poll<Result<Answer, String>> {
        let mut codec = link.codec();
        let id = match self.id {
            Some(id) => id,
            None if !codec.has_begun() => return Poll::Pending,
            None => {
                let Some(mut writer) = codec.open(&self.question.start) else {
                    return Poll::Ready(Err("it accepts no stream".into()));
                };
                self.question.fields.iter().for_each(|(name, value)| writer.field(name.as_bytes(), value));
                let id = writer.finish();
                self.id = Some(id);
                if !self.question.start.is_end {
                    // Questions are smaller than any window.
                    let _ = codec.poll_send(id, cx, self.question.body);
                    let _ = codec.end_response(id, None);
                }
                id
            }
        };
        while self.answer.status < 200 {
            let head = ready!(codec.poll_head(id, cx)).map_err(broken)?;
            (self.answer.status, self.answer.fields) = (head.status, head.fields);
        }
        while self.question.wants_body && self.answer.body.len() < MOST {
            match ready!(codec.poll_body(id, cx)).map_err(broken)? {
                Body::Data(data) => {
                    codec.passed_on(id, data.len());
                    self.answer.body.extend_from_slice(&data);
                }
                Body::End(trailers) => {
                    self.answer.trailers = trailers;
                    break;
                }
            }
        }
        Poll::Ready(Ok(std::mem::take(&mut self.answer)))
    }
}

fn broken(fault: Fault) -> String {
    match fault {
        Fault::Gone(Reason::NO_ERROR) => "the connection was closed without an answer".into(),
        Fault::Gone(reason) => format!("the request was reset: {}", reason.name()),
        Fault::Broken(what) | Fault::Malformed(what) => format!("the answer is not HTTP/2: {what}"),
    }
}
