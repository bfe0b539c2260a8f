//! What a peer says to this node: it is read here, and answered by the control side.
//!
//! Previous stop: `http::handle`, on the listener of `[cluster.peers]`, whose clients have shown a certificate of the peers'
//! own authority. Next stop: [`crate::cluster::peers::inbox`]; of a request that it asks for in the place of a client of its
//! own: `http::for_peer`.

use super::{
    active::ActiveExchange,
    for_peer, normalize,
    respond::{self, Reply},
    whole_body::{Gathered, WholeBody},
};
use crate::{
    account::Owner,
    cluster::peers::{mark, message},
    error::{Kind, Result},
    exchange::Downstream,
    fields::Known,
    h1::Method,
    moment::Moment,
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
    normalize::normalize(exchange, listener.conf.underscores, None, &listener.conf.paths)?;
    let path = [message::STATE, message::COMMAND].into_iter().find(|path| *path == exchange.request.target);
    let path = path.filter(|_| exchange.request.method == Method::Post).ok_or(Kind::NoRoute)?;
    let (patience, most) = (listener.conf.timeouts.body, message::MOST as u64);
    let end = Some(Moment::now().plus(patience));
    let whole = WholeBody { owner: Owner::Peers, most, patience, min_rate: 0, end };
    let Gathered { body, held, .. } = whole.read(exchange, client).await?;
    let worker = exchange.worker().clone();
    let (status, answer) = worker.shared.registry.peers.ask(path, body).await;
    drop(held);
    respond::own_head(status, exchange);
    exchange.response.fields.push_known(Known::ContentType, b"application/json");
    respond::send_own(Reply::of_listener(listener), answer, exchange, client).await
}
