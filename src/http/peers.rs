//! What a peer says to this node: it is read here, and answered by the control side.
//!
//! Previous stop: `http::handle`, on the listener of `[cluster.peers]`, whose clients have shown a certificate of the peers'
//! own authority. Next stop: [`crate::cluster::peers::inbox`]; of a request that it asks for in the place of a client of its
//! own: `http::for_peer`.

use std::{future::poll_fn, task::Poll};

use bytes::Bytes;

use super::{
    active::ActiveExchange,
    for_peer, normalize,
    respond::{self, Reply},
};
use crate::{
    account::{Held, Owner},
    cluster::peers::{mark, message},
    error::{Kind, ProxyError, Result},
    exchange::Downstream,
    fields::Known,
    h1::Method,
    moment::Moment,
    net::BodyFrame,
    runtime::Listener,
};

/// Answers a peer.
pub(super) async fn hear<D: Downstream>(
    listener: &Listener,
    exchange: &mut ActiveExchange,
    client: &mut D,
) -> Result<()> {
    if let Some(mark) = exchange.request.fields.get(mark::FIELD) {
        let mark = mark.to_vec();
        return for_peer::serve(&mark, exchange, client).await;
    }
    normalize::normalize(exchange, listener.conf.underscores, &listener.conf.paths)?;
    let path = [message::STATE, message::COMMAND].into_iter().find(|path| *path == exchange.request.target);
    let path = path.filter(|_| exchange.request.method == Method::Post).ok_or(Kind::NoRoute)?;
    let (body, held) = whole_body(listener, exchange, client).await?;
    let worker = exchange.worker().clone();
    let (status, answer) = worker.shared.registry.peers.ask(path, body).await;
    drop(held);
    respond::own_head(status, exchange);
    exchange.response.fields.push_known(Known::ContentType, b"application/json");
    respond::send_own(Reply::of_listener(listener), answer, exchange, client).await
}

async fn whole_body<D: Downstream>(
    listener: &Listener,
    exchange: &mut ActiveExchange,
    client: &mut D,
) -> Result<(Bytes, Held)> {
    let deadline = Moment::now().plus(listener.conf.timeouts.body);
    client.deadline().at(deadline);
    let (mut body, mut held) = (Vec::new(), Held::new(Owner::Peers, 0));
    poll_fn(|cx| {
        loop {
            match client.poll_body(cx) {
                Poll::Ready(Ok(BodyFrame::Data(buffer))) => {
                    exchange.facts.bytes_in += buffer.len() as u64;
                    if body.len() + buffer.len() > message::MOST {
                        return Poll::Ready(Err(ProxyError::new(Kind::BodyTooLarge)));
                    }
                    held.grow(buffer.len());
                    body.extend_from_slice(&buffer);
                }
                Poll::Ready(Ok(BodyFrame::End(_))) => return Poll::Ready(Ok(())),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    return client.deadline().poll_elapsed(cx).map(|()| Err(Kind::BodyTimeout.into()));
                }
            }
        }
    })
    .await?;
    Ok((body.into(), held))
}
