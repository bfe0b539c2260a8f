//! What carries one attempt: a connection of HTTP/1.1, or a stream of HTTP/2.
//!
//! An attempt and the upload of its body are the same over both ([`Carrier`]); a response's body is read from an
//! [`Answering`].

use std::{
    io,
    task::{Context, Poll},
};

use crate::{
    error::{Kind, ProxyError, Result},
    fields::Fields,
    h1::{HeadError, HeadLimits, ResponseHead, Scan},
    http2::{self, Fault, Reason, spare},
    http2_transport::RequestStream,
    net::{BodyFrame, BodyReader, BodyWriter, Buffer, Http1Stream, http1_stream::BodyError},
};

/// What an attempt is sent over.
pub trait Carrier {
    /// Sends some of the request's body; ready when all of `buffer` is gathered or written.
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        writer: &mut BodyWriter,
        buffer: &mut Buffer,
    ) -> Poll<io::Result<()>>;

    /// Ends the request's body.
    fn end(&mut self, writer: &mut BodyWriter, trailers: Option<&Fields>);

    /// Writes what is gathered; what fails is noticed by what is read.
    fn flush(&mut self, cx: &mut Context<'_>);

    /// Reads a response head, interim or final. Fails with [`Kind::Reset`], [`Kind::Refused`],
    /// [`Kind::BadResponse`] or [`Kind::ResponseTooLarge`].
    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        head: &mut ResponseHead,
        scan: &mut Scan,
        limits: &HeadLimits,
    ) -> Poll<Result<()>>;
}

impl Carrier for Http1Stream {
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        writer: &mut BodyWriter,
        buffer: &mut Buffer,
    ) -> Poll<io::Result<()>> {
        writer.poll_send(cx, self, buffer)
    }

    fn end(&mut self, writer: &mut BodyWriter, trailers: Option<&Fields>) {
        writer.end(self, trailers);
    }

    fn flush(&mut self, cx: &mut Context<'_>) {
        let _ = self.poll_flush(cx);
    }

    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        head: &mut ResponseHead,
        scan: &mut Scan,
        limits: &HeadLimits,
    ) -> Poll<Result<()>> {
        loop {
            if !self.input().is_empty() {
                match head.parse(self.input(), limits, scan) {
                    Ok(Some(length)) => {
                        self.consume(length);
                        return Poll::Ready(Ok(()));
                    }
                    Ok(None) => {}
                    Err(HeadError::Malformed(what)) => return bad(what),
                    Err(HeadError::TooLarge | HeadError::TargetTooLong) => {
                        return Poll::Ready(Err(Kind::ResponseTooLarge.into()));
                    }
                }
            }
            match self.poll_fill(cx) {
                Poll::Ready(Ok(true)) => {}
                Poll::Ready(Ok(false)) if self.input().is_empty() => {
                    return Poll::Ready(Err(Kind::Reset.into()));
                }
                Poll::Ready(Ok(false)) => return bad("the response head is incomplete"),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(ProxyError::because(Kind::Reset, error))),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

fn bad(what: &'static str) -> Poll<Result<()>> {
    Poll::Ready(Err(Kind::BadResponse(what).into()))
}

impl Carrier for RequestStream {
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        _: &mut BodyWriter,
        buffer: &mut Buffer,
    ) -> Poll<io::Result<()>> {
        // What the fault is, is told where the head is read.
        self.poll_send(cx, buffer).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn end(&mut self, _: &mut BodyWriter, trailers: Option<&Fields>) {
        self.end(trailers);
    }

    fn flush(&mut self, _: &mut Context<'_>) {
        // The connection's own task writes.
    }

    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        head: &mut ResponseHead,
        _: &mut Scan,
        _: &HeadLimits,
    ) -> Poll<Result<()>> {
        self.poll_head(cx).map(|result| {
            let taken = result.map_err(|fault| self.failed(fault))?;
            spare::recycle_response(std::mem::replace(head, taken));
            // RFC 9113 §8.6: there is nothing to switch to.
            match head.status {
                101 => Err(Kind::BadResponse("101 is not allowed in HTTP/2").into()),
                _ => Ok(()),
            }
        })
    }
}

/// What the end of a stream is to an attempt whose head has not come.
trait Failed {
    fn failed(&self, fault: Fault) -> ProxyError;
}

impl Failed for RequestStream {
    fn failed(&self, fault: Fault) -> ProxyError {
        match fault {
            Fault::Gone(Reason::REFUSED_STREAM) => Kind::Refused.into(),
            Fault::Gone(reason @ Reason::ENHANCE_YOUR_CALM) => {
                ProxyError::because(Kind::ConnectionOverloaded, self.why(reason))
            }
            Fault::Gone(reason) => ProxyError::because(Kind::Reset, self.why(reason)),
            Fault::Broken(http2::HEAD_TOO_LARGE) | Fault::Malformed(http2::HEAD_TOO_LARGE) => {
                Kind::ResponseTooLarge.into()
            }
            Fault::Broken(what) | Fault::Malformed(what) => Kind::BadResponse(what).into(),
        }
    }
}

/// Where the body of a response comes from.
#[derive(Debug)]
pub(super) enum Answering {
    /// A connection that is this exchange's until its bodies are through.
    Http1 {
        stream: Http1Stream,
        reader: BodyReader,
        /// Whether the connection may be used again then.
        is_reusable: bool,
    },
    /// A stream of a connection that it shares.
    Http2(RequestStream),
}

impl Answering {
    /// The next of the body. An error says that it broke off ([`Kind::BodyBroken`]), or that what is behind it is too
    /// large ([`Kind::ResponseTooLarge`]).
    pub(super) fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<BodyFrame>> {
        match self {
            Self::Http1 { stream, reader, .. } => stream.poll_body(cx, reader).map_err(|error| match error {
                BodyError::Io(error) => ProxyError::because(Kind::BodyBroken, error),
                BodyError::Early => Kind::BodyBroken.into(),
                BodyError::Malformed(HeadError::TooLarge) => Kind::ResponseTooLarge.into(),
                BodyError::Malformed(_) => ProxyError::because(Kind::BodyBroken, "a chunk is malformed"),
            }),
            Self::Http2(stream) => stream.poll_body(cx).map_err(|fault| match fault {
                Fault::Gone(reason) => ProxyError::because(Kind::BodyBroken, stream.why(reason)),
                Fault::Broken(http2::TRAILERS_TOO_LARGE) | Fault::Malformed(http2::TRAILERS_TOO_LARGE) => {
                    Kind::ResponseTooLarge.into()
                }
                Fault::Broken(what) | Fault::Malformed(what) => ProxyError::because(Kind::BodyBroken, what),
            }),
        }
    }
}
