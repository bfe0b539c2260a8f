//! From a request to its endpoint, and to the answer in its turn.
//!
//! Previous stop: [`super::server`]. Next stop: the file of an endpoint.

use std::{sync::Arc, time::Duration};

use http::{HeaderValue, StatusCode, header, request::Parts};
use tokio::{
    task::{spawn_blocking, spawn_local},
    time::timeout,
};

use super::{
    Admin,
    access::Scope,
    endpoint::{
        Answer::{Aside, Later, Now},
        AnswerLater, Endpoint,
    },
    endpoints::ENDPOINTS,
    params::{self, Checked, Params},
    reply::{self, Reply, busy, error},
    shared::Asked,
};
use crate::runtime::{changes::Maker, drain::Stage};

/// How long to wait for a place before the answer is "busy".
const PLACE: Duration = Duration::from_secs(5);
/// How long to wait until the program before this one has let go: a proof takes two seconds where nothing hangs.
const LETS_GO: Duration = Duration::from_secs(5);

impl Admin {
    /// Which endpoint is to answer, with what is in path and query; or the refusal.
    pub(super) fn find(&self, head: &Parts, scope: Scope) -> Checked<(&'static Endpoint, Params)> {
        let (path, method) = (head.uri.path(), head.method.as_str());
        let all = ENDPOINTS.iter().filter(|it| it.is_watched || scope == Scope::Everything);
        let here: Vec<_> = all.filter_map(|it| Some((it, it.parameters(path)?))).collect();
        if here.is_empty() && scope == Scope::Metrics {
            return Err(Box::new(only_metrics(path)));
        }
        if here.is_empty() || here.iter().any(|(endpoint, _)| !endpoint.is_open) {
            let is_watched = !here.is_empty() && here.iter().all(|(endpoint, _)| endpoint.is_watched);
            let access = match scope {
                Scope::Everything => self.access.load(),
                Scope::Metrics => self.metrics_access.load(),
            };
            access.check(head, is_watched)?;
        }
        let allowed = here.iter().map(|(endpoint, _)| endpoint.method).collect::<Vec<_>>();
        let Some((endpoint, parameters)) = here.into_iter().find(|(it, _)| it.takes(method)) else {
            return Err(Box::new(no_endpoint(method, path, &allowed)));
        };
        if endpoint.about.is_change && self.shared.drain.stage() > Stage::Running {
            return Err(Box::new(draining()));
        }
        let query = match endpoint.is_open {
            // Probes put there what they like.
            true => Vec::new(),
            false => params::query(endpoint.about, head.uri.query().unwrap_or_default())?,
        };
        let if_match = head.headers.get(header::IF_MATCH);
        let if_match = if_match.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        let is_shared = endpoint.about.is_shared;
        Ok((endpoint, Params { parameters, query, if_match, is_shared, ..Params::default() }))
    }

    /// Waits, during an upgrade, until changes are made here; or the refusal.
    pub(super) async fn take_turn(&self) -> Checked<()> {
        match self.shared.registry.changes.settled(LETS_GO).await {
            Maker::Own => Ok(()),
            Maker::Before => Err(Box::new(upgrading())),
            Maker::Next => Err(Box::new(draining())),
        }
    }

    /// Has the endpoint answer.
    pub(super) async fn answer(
        self: Arc<Self>,
        endpoint: &'static Endpoint,
        question: Params,
        asked: Option<Asked>,
    ) -> Reply {
        let answer = match endpoint.answer {
            Now(answer) => {
                let reply = answer(&self, &question);
                self.tell_peers(asked.as_ref(), &reply);
                return reply;
            }
            Later(answer) => return self.answer_later(endpoint, (answer, question), asked).await,
            Aside(answer) => answer,
        };
        // Who waits here keeps the place of a connection, which others need to ask for health.
        let scrape = endpoint.is_watched.then(|| self.scrapes.clone().try_acquire_owned());
        let Ok(_scrape) = scrape.transpose() else { return busy() };
        let places = match endpoint.about.body.is_toml() {
            true => &self.building,
            false if endpoint.is_watched => &self.scraping,
            false => &self.reading,
        };
        let Ok(Ok(place)) = timeout(PLACE, places.clone().acquire_owned()).await else {
            return busy();
        };
        if self.is_too_late(endpoint) {
            return draining();
        }
        let work = spawn_blocking(move || {
            let reply = answer(&self, &question);
            self.tell_peers(asked.as_ref(), &reply);
            // Held to the end of the work, also when nobody waits for it any more.
            drop(place);
            reply
        });
        work.await.unwrap_or_else(|_| reply::panicked())
    }

    /// Whether the next program makes this change: it has taken over while a place was waited for.
    fn is_too_late(&self, endpoint: &Endpoint) -> bool {
        endpoint.about.is_change && self.shared.registry.changes.maker() == Maker::Next
    }

    /// Waits for others, in a task of its own: what was begun is brought to its end, also when the client
    /// leaves, and keeps its place until then.
    async fn answer_later(
        self: Arc<Self>,
        endpoint: &Endpoint,
        (answer, question): (AnswerLater, Params),
        asked: Option<Asked>,
    ) -> Reply {
        let Ok(Ok(place)) = timeout(PLACE, self.waiting.clone().acquire_owned()).await else {
            return busy();
        };
        if self.is_too_late(endpoint) {
            return draining();
        }
        let work = spawn_local(async move {
            let reply = answer(self.clone(), question).await;
            self.tell_peers(asked.as_ref(), &reply);
            drop(place);
            reply
        });
        work.await.unwrap_or_else(|_| reply::panicked())
    }
}

fn no_endpoint(method: &str, path: &str, allowed: &[&str]) -> Reply {
    if allowed.is_empty() {
        let message = format!("there is no {path}");
        return error(StatusCode::NOT_FOUND, "not_found", &message, "GET /api/v1 lists the endpoints");
    }
    let mut allow = allowed.join(", ");
    if allowed.contains(&"GET") {
        allow.push_str(", HEAD");
    }
    let message = format!("{path} does not accept {method}");
    let hint = format!("it accepts {allow}");
    let mut reply = error(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", &message, &hint);
    if let Ok(allow) = HeaderValue::from_str(&allow) {
        reply.headers_mut().insert(header::ALLOW, allow);
    }
    reply
}

fn only_metrics(path: &str) -> Reply {
    let message = format!("there is no {path} here");
    let hint = "/metrics, /healthz and /readyz are answered here; the rest is at `address` of `[admin]`";
    error(StatusCode::NOT_FOUND, "not_found", &message, hint)
}

fn draining() -> Reply {
    let (message, hint) = (
        "the program is stopping and accepts no changes",
        "ask the program that \
        replaces it",
    );
    later(error(StatusCode::SERVICE_UNAVAILABLE, "stopping", message, hint))
}

fn upgrading() -> Reply {
    let message = "an upgrade is under way, and this program has not taken over yet";
    later(error(StatusCode::SERVICE_UNAVAILABLE, "upgrading", message, "try again in a moment"))
}

fn later(mut reply: Reply) -> Reply {
    reply.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    reply
}
