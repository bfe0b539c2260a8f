//! Where the body of a response comes from.

use std::{
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;

use super::{
    keep::Keep,
    staged::{Blocks, Staged},
    unwanted::Unwanted,
};
use crate::{
    cache::{
        disk::{Damaged, Reading},
        fill::{ReadError, Reader},
        store::Cache,
        stored::Stored,
        stored_response::StoredResponse,
    },
    error::{Kind, ProxyError, Result},
    file_tree::Reading as FileReading,
    filter::{BodyPlan, Kept},
    moment::Moment,
    net::{BodyFrame, Buffer},
    upstream::{UpstreamResponse, response::BodyLength},
};

/// Where the body of a response comes from.
#[derive(Debug)]
pub(in crate::http) enum Source {
    /// A backend.
    Upstream(UpstreamResponse),
    /// A fetch that others may read too.
    Fill(Part, Reader),
    /// What is stored.
    Stored(Part, Stored, Option<Reading>),
    /// A file that is found.
    File(Part, FileReading),
    /// Memory.
    Bytes(Bytes),
    /// Memory, in the place of another.
    Instead(Bytes, Box<Unwanted<Self>>),
    /// Another, through stages.
    Staged(Box<Staged<Self>>),
}

/// Which bytes of a body go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) struct Part {
    /// The first that did not go yet.
    pub(in crate::http) at: u64,
    /// Behind the last; none while that is not known.
    pub(in crate::http) end: Option<u64>,
}

impl Part {
    /// All of a body of this length.
    pub(in crate::http) fn whole(length: Option<u64>) -> Self {
        Self { at: 0, end: length }
    }

    fn is_over(&self) -> bool {
        self.end.is_some_and(|end| self.at >= end)
    }

    /// Cuts what goes out of what comes next.
    fn take(&mut self, bytes: &Bytes) -> Bytes {
        let most = self.end.map_or(u64::MAX, |end| end.saturating_sub(self.at));
        let length = bytes.len().min(usize::try_from(most).unwrap_or(usize::MAX));
        self.at += length as u64;
        bytes.slice(..length)
    }
}

impl Source {
    /// How many bytes come, where that is known.
    pub(super) fn length(&self) -> Option<u64> {
        match self {
            Self::Upstream(response) => response.length().known(),
            Self::Fill(part, ..) | Self::Stored(part, ..) | Self::File(part, ..) => {
                part.end.map(|end| end.saturating_sub(part.at))
            }
            Self::Bytes(bytes) | Self::Instead(bytes, _) => Some(bytes.len() as u64),
            Self::Staged(_) => None,
        }
    }

    /// Nothing goes out: the response has no body. What a backend sends is read to its end all the same.
    pub(super) fn skip(&mut self) {
        match self {
            Self::Upstream(_) => {}
            Self::Fill(part, ..) | Self::Stored(part, ..) | Self::File(part, ..) => part.end = Some(part.at),
            Self::Bytes(bytes) | Self::Instead(bytes, _) => bytes.clear(),
            Self::Staged(staged) => staged.source.skip(),
        }
    }

    /// The response of a backend, where that is where it comes from.
    pub(super) fn upstream(&mut self) -> Option<&mut UpstreamResponse> {
        match self {
            Self::Upstream(response) => Some(response),
            Self::Staged(staged) => staged.source.upstream(),
            Self::Instead(_, unwanted) => unwanted.source.upstream(),
            Self::Fill(..) | Self::Stored(..) | Self::File(..) | Self::Bytes(_) => None,
        }
    }

    /// The same, of which nothing else comes.
    pub(super) fn into_upstream(self) -> Option<UpstreamResponse> {
        match self {
            Self::Upstream(response) => Some(response),
            Self::Staged(staged) => staged.source.into_upstream(),
            Self::Instead(_, unwanted) => unwanted.source.into_upstream(),
            Self::Fill(..) | Self::Stored(..) | Self::File(..) | Self::Bytes(_) => None,
        }
    }

    /// How far a fetch is that is waited for: it may bring all that comes before the part that goes out.
    pub(super) fn fetched(&self) -> u64 {
        match self {
            Self::Fill(_, reader) => reader.come(),
            Self::Staged(staged) => staged.source.fetched(),
            Self::Upstream(_) | Self::Stored(..) | Self::File(..) | Self::Bytes(_) | Self::Instead(..) => 0,
        }
    }

    /// What there is of the body in other encodings, where all of it goes out from memory.
    pub(super) fn encodings(&self) -> Option<&dyn Kept> {
        self.whole_in_memory().map(|object| &**object as &dyn Kept)
    }

    fn whole_in_memory(&self) -> Option<&Arc<StoredResponse>> {
        match self {
            Self::Stored(part, Stored::Memory(object), _) => {
                (*part == Part::whole(Some(object.body.length))).then_some(object)
            }
            _ => None,
        }
    }

    /// As the filters of a response have it; of what is stored in this cache and is encoded the encoding is kept.
    pub(super) fn after(self, plan: BodyPlan, cache: Option<&Arc<Cache>>) -> Self {
        if plan.stages.is_empty() {
            return self.replaced(plan.replaced);
        }
        let (coding, object) = (plan.only_coding(), self.whole_in_memory());
        let keep = coding.zip(object).zip(cache);
        let begin = |((coding, object), cache)| Keep::begin(coding, object, cache, Moment::recent());
        let keep = keep.and_then(begin);
        let source = self.replaced(plan.replaced);
        Self::Staged(Box::new(Staged::new(source, plan.stages, keep)))
    }

    /// What stands for this body, if anything does, and else the body.
    fn replaced(self, by: Option<Bytes>) -> Self {
        match by {
            Some(bytes) => self.behind(bytes),
            None => self,
        }
    }

    /// These bytes in the place of this body, which is read behind them where it is short, and goes nowhere.
    pub(in crate::http) fn behind(self, bytes: Bytes) -> Self {
        let is_read = match &self {
            // The other kind ends with its connection.
            Self::Upstream(response) => response.length() != BodyLength::UntilClose,
            // Its connection too is closed once nobody reads what comes, unless it is fetched to its end all the same.
            Self::Fill(_, reader) => !reader.goes_on_unread(),
            Self::Stored(..) | Self::File(..) | Self::Bytes(_) | Self::Instead(..) | Self::Staged(_) => false,
        };
        let length = self.length();
        match Some(self).filter(|_| is_read).and_then(|source| Unwanted::of(source, length)) {
            Some(unwanted) => Self::Instead(bytes, Box::new(unwanted)),
            None => Self::Bytes(bytes),
        }
    }

    /// Reads what is left behind the end: a body that another stands for. False where who brings it is not to be used again.
    pub(super) fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        match self {
            Self::Instead(_, unwanted) => unwanted.poll(cx),
            Self::Staged(staged) => staged.source.poll_rest(cx),
            Self::Upstream(_) | Self::Fill(..) | Self::Stored(..) | Self::File(..) | Self::Bytes(_) => {
                Poll::Ready(true)
            }
        }
    }

    /// The next of the body, and its end.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<BodyFrame>> {
        match self {
            Self::Upstream(response) => response.poll_body(cx),
            Self::Fill(part, ..) | Self::Stored(part, ..) | Self::File(part, ..) if part.is_over() => {
                Poll::Ready(Ok(BodyFrame::End(None)))
            }
            Self::Fill(part, reader) => {
                let next = ready!(reader.poll_at(part.at, cx)).map_err(unread)?;
                Poll::Ready(Ok(frame(next.map(|bytes| part.take(&bytes)))))
            }
            Self::Stored(part, Stored::Memory(response), _) => {
                let bytes = response.body.at(part.at);
                Poll::Ready(Ok(frame((!bytes.is_empty()).then(|| part.take(&bytes)))))
            }
            Self::Stored(part, Stored::Disk(object), reading) => {
                let end = part.end.unwrap_or(object.length);
                let reading = reading.get_or_insert_with(|| object.read(part.at, end));
                let next = match ready!(reading.poll_next(cx)) {
                    Some(Ok(bytes)) => Some(part.take(&bytes)),
                    Some(Err(Damaged)) => {
                        let error = ProxyError::because(Kind::BodyBroken, "the response is damaged on disk");
                        return Poll::Ready(Err(error));
                    }
                    None => None,
                };
                Poll::Ready(Ok(frame(next)))
            }
            Self::File(_, reading) => {
                let next = ready!(reading.poll_next(cx));
                let next = next.map_err(|error| ProxyError::because(Kind::FileUnreadable, error))?;
                Poll::Ready(Ok(next.map_or(BodyFrame::End(None), BodyFrame::Data)))
            }
            Self::Bytes(bytes) | Self::Instead(bytes, _) => {
                let next = std::mem::take(bytes);
                Poll::Ready(Ok(frame((!next.is_empty()).then_some(next))))
            }
            Self::Staged(staged) => staged.poll(cx),
        }
    }
}

impl Blocks for Source {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<BodyFrame>> {
        self.poll(cx)
    }
}

fn frame(next: Option<Bytes>) -> BodyFrame {
    next.map_or(BodyFrame::End(None), |bytes| BodyFrame::Data(Buffer::shared(bytes)))
}

fn unread(error: ReadError) -> ProxyError {
    match error {
        ReadError::Broken => Kind::BodyBroken.into(),
        ReadError::Behind => ProxyError::because(
            Kind::ClientStalled,
            "it reads too slowly: what it has yet to read is no longer kept",
        ),
    }
}
