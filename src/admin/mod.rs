//! The admin endpoint: health of the process, metrics, and the API, over HTTP/1.1.
//!
//! Previous stop: [`server`], which accepts and reads requests on the control loop; next stop: the file of
//! an endpoint, by [`ENDPOINTS`]. Nothing here is on the path of proxied requests: it reads counters that
//! have one writer each, at any time, and changes go through [`crate::reload`].

pub mod access;
pub mod params;
pub mod reply;
pub mod server;
pub mod spec;

mod backends;
mod caches;
mod config;
mod connections;
mod dashboard;
mod endpoint;
mod endpoints;
mod explain;
mod healthz;
mod index;
mod log_level;
mod metrics;
mod openapi;
mod purge;
mod readyz;
mod status;
mod traffic;
mod upgrade;
mod upstreams;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use arc_swap::ArcSwap;
use http::{HeaderValue, StatusCode, header, request::Parts};
use serde_json::Value;
use tokio::{
    sync::Semaphore,
    task::{spawn_blocking, spawn_local},
    time::timeout,
};

use self::{
    Answer::{Aside, Later, Now},
    access::Access,
    params::{Checked, Params},
    reply::{Reply, busy, error},
};
pub use self::{
    endpoint::{Answer, Endpoint, Pending},
    endpoints::ENDPOINTS,
};
use crate::{
    config::admin::AdminConf,
    listen::mailbox::Mailboxes,
    moment::Moment,
    reload::Reloader,
    runtime::{drain::Stage, worker::Shared},
};

/// Answers at a time that only read.
const MOST_READING: usize = 2;
/// Configurations at a time that are looked at; a large one takes seconds and much memory.
const MOST_BUILDING: usize = 1;
/// Answers at a time that wait for others; the others take one after another.
const MOST_WAITING: usize = 32;
/// Large bodies at a time.
const MOST_LARGE: usize = 2;
/// How long to wait for a place before the answer is "busy".
const PLACE: Duration = Duration::from_secs(5);

/// What the endpoints tell of, and change.
#[derive(Debug)]
pub struct Admin {
    shared: Arc<Shared>,
    access: ArcSwap<Access>,
    reloader: Reloader,
    mailboxes: Mailboxes,
    started: Moment,
    /// The certificates that are served, and when they were looked at.
    certificates: Mutex<Option<(status::Looked, Value)>>,
    reading: Arc<Semaphore>,
    building: Arc<Semaphore>,
    large: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

impl Admin {
    /// To be made once the snapshot is there.
    pub fn new(shared: Arc<Shared>, access: Access, reloader: Reloader, mailboxes: Mailboxes) -> Self {
        Self {
            shared,
            access: ArcSwap::from_pointee(access),
            reloader,
            mailboxes,
            started: Moment::now(),
            certificates: Mutex::default(),
            reading: Arc::new(Semaphore::new(MOST_READING)),
            building: Arc::new(Semaphore::new(MOST_BUILDING)),
            large: Arc::new(Semaphore::new(MOST_LARGE)),
            waiting: Arc::new(Semaphore::new(MOST_WAITING)),
        }
    }

    /// Takes over who may ask from another configuration. A token that cannot be read leaves the old one.
    pub fn set_access(&self, conf: Option<&AdminConf>) {
        match conf.map(Access::new) {
            Some(Ok(access)) => self.access.store(Arc::new(access)),
            Some(Err(error)) => tracing::error!("{error}; the token that was read before holds"),
            None => {}
        }
    }

    /// Which endpoint is to answer, with what stands in path and query; or the refusal.
    fn find(&self, head: &Parts) -> Checked<(&'static Endpoint, Params)> {
        let (path, method) = (head.uri.path(), head.method.as_str());
        let here: Vec<_> = ENDPOINTS.iter().filter_map(|it| Some((it, it.parameters(path)?))).collect();
        if here.is_empty() || here.iter().any(|(endpoint, _)| !endpoint.is_open) {
            self.access.load().check(head)?;
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
        Ok((endpoint, Params { parameters, query, if_match, ..Params::default() }))
    }

    /// Has the endpoint answer.
    async fn answer(self: Arc<Self>, endpoint: &'static Endpoint, question: Params) -> Reply {
        let answer = match endpoint.answer {
            Now(answer) => return answer(&self, &question),
            Later(answer) => return self.answer_later(answer, question).await,
            Aside(answer) => answer,
        };
        let places = if endpoint.about.body.is_toml() { &self.building } else { &self.reading };
        let Ok(Ok(place)) = timeout(PLACE, places.clone().acquire_owned()).await else {
            return busy();
        };
        let work = spawn_blocking(move || {
            let reply = answer(&self, &question);
            // Held to the end of the work, also when nobody waits for it any more.
            drop(place);
            reply
        });
        work.await.unwrap_or_else(|_| reply::panicked())
    }

    /// Waits for others, in a task of its own: what was begun is brought to its end, also when the client
    /// leaves, and keeps its place until then.
    async fn answer_later(
        self: Arc<Self>,
        answer: fn(Arc<Self>, Params) -> Pending,
        question: Params,
    ) -> Reply {
        let Ok(Ok(place)) = timeout(PLACE, self.waiting.clone().acquire_owned()).await else {
            return busy();
        };
        let work = spawn_local(async move {
            let reply = answer(self, question).await;
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
    let message = format!("{path} does not take {method}");
    let hint = format!("it takes {allow}");
    let mut reply = error(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", &message, &hint);
    if let Ok(allow) = HeaderValue::from_str(&allow) {
        reply.headers_mut().insert(header::ALLOW, allow);
    }
    reply
}

fn draining() -> Reply {
    let (message, hint) = ("the program is stopping; nothing is changed any more", "ask the one after it");
    error(StatusCode::SERVICE_UNAVAILABLE, "stopping", message, hint)
}

#[cfg(test)]
pub(crate) mod tests;
