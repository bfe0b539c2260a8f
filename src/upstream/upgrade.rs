//! A backend that switches to the protocol that was asked for.
//!
//! Previous stop: `upstream::attempt`, which has its response head.

use std::{
    future::poll_fn,
    io,
    task::{Poll, ready},
};

use super::{attempt::Progress, forward_request::ForwardRequest, upload::Waiting};
use crate::{
    error::{Kind, ProxyError, Result},
    exchange::Downstream,
    net::Http1Stream,
};

impl ForwardRequest<'_> {
    /// Brings what is left of the request to a backend that has switched: what is left would be taken for the new
    /// protocol. RFC 9110 §7.8: a client speaks that only behind its whole request, and the backend may switch before it
    /// has that. So nobody is to blame but a client that holds its body back.
    pub(super) async fn send_rest<D: Downstream>(
        &mut self,
        stream: &mut Http1Stream,
        client: &mut D,
        progress: &mut Progress,
    ) -> Result<()> {
        poll_fn(|cx| {
            // It says no 100 any more.
            if progress.end_patience() {
                self.say_continue(client);
                let _ = client.poll_flush(cx)?;
            }
            let sent = self.upload.poll(cx, client, stream)?;
            let gone = |error: io::Error| ProxyError::because(Kind::ResetInUpload, error);
            let is_flushed = stream.is_flushed() || stream.poll_flush(cx).map_err(gone)?.is_ready();
            let waiting = match sent {
                Waiting::Nothing if self.upload.is_refused() => {
                    return Poll::Ready(Err(Kind::ResetInUpload.into()));
                }
                Waiting::Nothing if is_flushed => return Poll::Ready(Ok(())),
                Waiting::Nothing | Waiting::Backend => Waiting::Backend,
                Waiting::Client => Waiting::Client,
            };
            self.renew_deadline(client.deadline(), waiting, progress);
            ready!(client.deadline().poll_elapsed(cx));
            Poll::Ready(Err(self.late(waiting)))
        })
        .await
    }
}
