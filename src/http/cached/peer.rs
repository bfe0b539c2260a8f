//! Asking the node that owns a key before the origin.
//!
//! Previous stop: [`super::fetch`], for a request that others may wait for; next stop: `http::peer_question`. The owner answers
//! in the origin's place, or within a moment says that it is about to; else the origin is asked.

use std::{future::poll_fn, time::Duration};

use tokio::time::timeout;

use super::origin::{OriginReply, OriginRequest, judge};
use crate::{
    cache::{
        freshness::{Times, age_value},
        key::Key,
        peer_counts::PeerResult,
        store::Cache,
    },
    cluster::peers::mark::Purpose,
    error::Kind,
    exchange::{Exchange, PeerHop},
    fields::Fields,
    http::{
        active::ActiveExchange,
        answer::Answer,
        cache_key::now,
        context::RequestPlan,
        detached::Detached,
        peer_question::{NoAnswer, Question, give_back},
    },
    moment::Moment,
    route::rewrite::Rewrite,
    runtime::Route,
    template::Template,
    upstream::{UpstreamResponse, forward_request::FirstSign, upload::Upload},
};

/// Bytes of a body that is read whole before an owner's answer is taken. Who reads a larger one sees that it broke off, as with
/// an origin's; it is stored in no case.
const SMALL: u64 = 64 * 1024;

/// The node that owns a key.
pub(super) struct Owner(Question);

/// Whether the key, or what the origin is asked for, has something of the client's connection: the owner would make another
/// one of it, and have one client's response for all.
fn is_of_connection(route: &Route, cache: &Cache) -> bool {
    cache.key_template.as_ref().is_some_and(Template::is_of_connection)
        || route.rewrite.as_ref().is_some_and(Rewrite::is_of_connection)
}

/// The peer to ask for a key; `None` where this node owns it or is asked itself, and where the cache does not ask.
pub(super) fn owner(route: &Route, cache: &Cache, key: &Key, exchange: &ActiveExchange) -> Option<Owner> {
    if !cache.conf.peers || exchange.hop.is_some() || is_of_connection(route, cache) {
        return None;
    }
    let snapshot = exchange.snapshot();
    let (ring, now) = (snapshot.shared.members.ring(), Moment::now());
    let question = Question::to(ring.owner(key.half_hash(), now)?, &ring, snapshot, now);
    if question.is_none() {
        cache.store.peers.add(PeerResult::Avoided);
    }
    question.map(Owner)
}

impl Owner {
    /// Asks the owner; `None` where the origin is to be asked. The request is one that [`super::origin::prepare`] made.
    pub(super) async fn ask(
        &self,
        request: &OriginRequest<'_>,
        (key, is_conditional): (&Key, bool),
        exchange: &mut Exchange,
        client: &mut Detached<'_>,
    ) -> Option<OriginReply> {
        let (asked, requested) = (Moment::now(), now());
        let first = first_sign(request)?;
        let patience = FirstSign { first, then: request.cache.conf.collapse.timeout };
        let question = (Purpose::Cache, RequestPlan::WITHOUT_BODY);
        let nothing = &mut Upload::default();
        let answered = self.0.ask(request.context, question, patience, nothing, exchange, client).await;
        let (received, waited) = (now(), Moment::now().since(asked));
        let judged = answered
            .map_err(|why| self.failed(&why))
            .and_then(|response| judge_age(request.cache, key, asked, response, exchange));
        let judged = match judged {
            Ok((response, PeerResult::Hit)) => self.whole(response, first).await,
            others => others,
        };
        let (response, result) = match judged {
            Ok((response, result)) => (Some(response), result),
            Err(result) => (None, result),
        };
        request.cache.store.peers.add(result);
        let answer = Answer { response: response?, affinity: None };
        let times = Times { requested, received };
        let is_stored = was_stored(&exchange.response.fields, waited);
        let reply = judge(request, answer, is_conditional, exchange, times)?;
        let reply = if is_stored { reply.of_peer() } else { reply };
        exchange.hop = Some(PeerHop::By(self.0.node.clone()));
        Some(reply)
    }

    /// An answer that the owner has already, with its body where that is small: one that is not whole is not taken, and the
    /// client gets the origin's.
    async fn whole(
        &self,
        mut response: UpstreamResponse,
        within: Duration,
    ) -> Result<(UpstreamResponse, PeerResult), PeerResult> {
        let reading = poll_fn(|cx| response.poll_whole(cx, SMALL));
        let read = timeout(within, reading).await.unwrap_or_else(|_| Err(Kind::ResponseTimeout.into()));
        match read {
            Ok(()) => Ok((response, PeerResult::Hit)),
            Err(error) => {
                response.record_failure(error.kind());
                Err(self.failed(&NoAnswer::Failed(error)))
            }
        }
    }

    fn failed(&self, why: &NoAnswer) -> PeerResult {
        let NoAnswer::Failed(error) = why else { return PeerResult::Declined };
        tracing::debug!(peer = %self.0.node, "the request goes to the origin, because the peer does not \
            answer: {error}");
        match error.kind() {
            Kind::ConnectTimeout | Kind::ResponseTimeout => PeerResult::Slow,
            _ => PeerResult::Failed,
        }
    }
}

/// How long a peer may take to begin to answer.
fn first_sign(request: &OriginRequest<'_>) -> Option<Duration> {
    let cluster = request.context.snapshot.shared.config.cluster.as_ref();
    Some(cluster?.peers.as_ref()?.response_timeout)
}

/// What the answer in `exchange.response` is, to a question of that time; an error where it is not taken.
fn judge_age(
    cache: &Cache,
    key: &Key,
    asked: Moment,
    response: UpstreamResponse,
    exchange: &Exchange,
) -> Result<(UpstreamResponse, PeerResult), PeerResult> {
    let fields = &exchange.response.fields;
    // A purge reaches nodes one after the other: what the peer has may be from before one that was made here already. Ages
    // are whole seconds, rounded down.
    let then = asked.minus(Duration::from_secs(age_value(fields).saturating_add(1)));
    if cache.is_outdated(key, fields, then) {
        give_back(response);
        return Err(PeerResult::Outdated);
    }
    Ok((response, if says(fields, b"hit") { PeerResult::Hit } else { PeerResult::Fetched }))
}

/// Whether a peer that answered after so long had that stored before it was asked. It may have given it because of what the
/// one who asks accepts, or since the origin fails, and said so; or as one who reads along with a fetch.
fn was_stored(answer: &Fields, waited: Duration) -> bool {
    // Ages are whole seconds.
    let is_older = Duration::from_secs(age_value(answer)) > waited.saturating_add(Duration::from_secs(1));
    is_older || says(answer, b"hit") || says(answer, b"detail=stale-if-error")
}

/// Whether the cache that answered says this of it.
fn says(answer: &Fields, parameter: &[u8]) -> bool {
    let said = answer.all("cache-status").last().unwrap_or_default();
    said.split(|byte| *byte == b';').any(|other| other.trim_ascii() == parameter)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{
        config,
        runtime::{build, registry::Registry},
        tls::tickets::Tickets,
    };

    #[test]
    fn what_a_peer_had_before_it_was_asked_is_known() {
        for (status, age, expected) in [
            ("pointsman-b; hit; ttl=5", "", true),
            ("pointsman-b; fwd=uri-miss; stored; ttl=5", "1", false),
            ("pointsman-b; fwd=uri-miss; collapsed; ttl=5", "9", true),
            ("pointsman-b; fwd=stale; fwd-status=503; detail=stale-if-error", "", true),
            ("other; hit, pointsman-b; fwd=stale; fwd-status=304; ttl=5", "0", false),
            ("", "9", true),
            ("", "", false),
        ] {
            let mut fields = Fields::default();
            status.split(", ").for_each(|one| fields.push("Cache-Status", one.as_bytes()));
            fields.push("Age", age.as_bytes());
            assert_eq!(was_stored(&fields, Duration::from_millis(400)), expected, "{status} {age}");
        }
    }

    /// Else its owner would make another key, or ask the origin for something else, without the client's certificate.
    #[test]
    fn what_comes_of_a_connection_is_asked_of_no_owner() {
        for (key, rewrite, expected) in [
            ("", "", false),
            ("key = { template = \"{header.x-a}\" }", "rewrite = { path = \"/{client_ip}{path}\" }", false),
            ("key = { template = \"{tls.client.fingerprint}\" }", "", true),
            ("", "rewrite = { path = \"/{tls.client.subject}{path}\" }", true),
            ("", "rewrite = { query = { set = { a = \"{tls.sni}\" } } }", true),
        ] {
            let text = format!(
                "[[listener]]\nname = \"l\"\naddress = \"127.0.0.1:1\"\n[[cache]]\nname = \"c\"\n{key}\n\
                 [[route]]\nname = \"r\"\nupstream = \"u\"\ncache = \"c\"\n{rewrite}\n\
                 [[upstream]]\nname = \"u\"\nbackend = [{{ address = \"127.0.0.1:2\" }}]\n"
            );
            let config = config::parse(&text, Path::new("x.toml")).unwrap();
            let tickets = Tickets::new(Moment::now()).unwrap();
            let snapshot = build::build(config, 1, &Registry::new(1), &tickets).unwrap();
            let route = &snapshot.routes[0];
            let cache = route.cache.as_ref().unwrap();
            assert_eq!(is_of_connection(route, cache), expected, "{key} {rewrite}");
        }
    }
}
