//! The admin endpoint: health of the process, metrics, and the API, over HTTP/1.1.
//!
//! Previous stop: [`server`], which accepts and reads requests on the control loop; next stop: the file of
//! an endpoint, by [`ENDPOINTS`]. Nothing here is on the path of proxied requests: it reads counters that
//! have one writer each, at any time, and changes go through [`crate::reload`].

pub mod about;
pub mod access;
pub mod question;
pub mod reply;
pub mod server;

mod backends;
mod config;
mod connections;
mod dashboard;
mod explain;
mod healthz;
mod index;
mod log_level;
mod metrics;
mod openapi;
mod readyz;
mod status;
mod traffic;
mod upgrade;
mod upstreams;

use std::{
    pin::Pin,
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
    about::About,
    access::Access,
    question::{Checked, Question, decode},
    reply::{Reply, busy, error},
};
use crate::{
    config::admin::AdminConf,
    listen::mailbox::Mailboxes,
    moment::Moment,
    reload::Reloader,
    runtime::{drain::Stage, worker::Shared},
    tls::tickets::Tickets,
};

/// Every endpoint; what is not here is not there. The index and the OpenAPI description are made from it.
pub static ENDPOINTS: &[Endpoint] = &[
    Endpoint {
        method: "GET",
        path: "/",
        summary: "the dashboard, for a browser",
        // It holds no data: it asks for them, and for the token where one is needed.
        is_open: true,
        about: &dashboard::ABOUT,
        answer: Now(dashboard::get),
    },
    Endpoint {
        method: "GET",
        path: "/healthz",
        summary: "200 while the process lives",
        is_open: true,
        about: &healthz::ABOUT,
        answer: Now(healthz::get),
    },
    Endpoint {
        method: "GET",
        path: "/readyz",
        summary: "200 while it wants traffic, 503 while it starts or drains",
        is_open: true,
        about: &readyz::ABOUT,
        answer: Now(readyz::get),
    },
    Endpoint {
        method: "GET",
        path: "/metrics",
        summary: "metrics as Prometheus text",
        is_open: false,
        about: &metrics::ABOUT,
        answer: Aside(metrics::get),
    },
    Endpoint {
        method: "GET",
        path: "/api/v1/openapi.json",
        summary: "this API, described in OpenAPI 3.1",
        is_open: false,
        about: &openapi::ABOUT,
        answer: Aside(openapi::get),
    },
    Endpoint {
        method: "GET",
        path: "/api/v1",
        summary: "this list of endpoints",
        is_open: false,
        about: &index::ABOUT,
        answer: Now(index::get),
    },
    Endpoint {
        method: "GET",
        path: "/api/v1/status",
        summary: "version, uptime, generation, listeners, certificates, overrides, last reload",
        is_open: false,
        about: &status::ABOUT,
        answer: Aside(status::get),
    },
    Endpoint {
        method: "GET",
        path: "/api/v1/traffic",
        summary: "totals since the start, and the last errors",
        is_open: false,
        about: &traffic::ABOUT,
        answer: Aside(traffic::get),
    },
    Endpoint {
        method: "GET",
        path: "/api/v1/upstreams",
        summary: "every upstream with its backends",
        is_open: false,
        about: &upstreams::LIST,
        answer: Aside(upstreams::list),
    },
    Endpoint {
        method: "GET",
        path: "/api/v1/upstreams/{upstream}",
        summary: "one upstream with its backends",
        is_open: false,
        about: &upstreams::ONE,
        answer: Aside(upstreams::get),
    },
    Endpoint {
        method: "POST",
        path: "/api/v1/upstreams/{upstream}/backends",
        summary: "adds a backend",
        is_open: false,
        about: &backends::ADD,
        answer: Later(|admin, question| Box::pin(backends::add(admin, question))),
    },
    Endpoint {
        method: "PATCH",
        path: "/api/v1/upstreams/{upstream}/backends/{backend}",
        summary: "changes a backend's weight or state",
        is_open: false,
        about: &backends::PATCH,
        answer: Later(|admin, question| Box::pin(backends::patch(admin, question))),
    },
    Endpoint {
        method: "DELETE",
        path: "/api/v1/upstreams/{upstream}/backends/{backend}",
        summary: "removes a backend; what is under way on it ends by itself",
        is_open: false,
        about: &backends::REMOVE,
        answer: Later(|admin, question| Box::pin(backends::remove(admin, question))),
    },
    Endpoint {
        method: "POST",
        path: "/api/v1/upstreams/{upstream}/backends/{backend}/drain",
        summary: "gives a backend nothing new; what is under way ends by itself",
        is_open: false,
        about: &backends::STATE,
        answer: Later(|admin, question| Box::pin(backends::drain(admin, question))),
    },
    Endpoint {
        method: "POST",
        path: "/api/v1/upstreams/{upstream}/backends/{backend}/enable",
        summary: "gives a backend its part again",
        is_open: false,
        about: &backends::STATE,
        answer: Later(|admin, question| Box::pin(backends::enable(admin, question))),
    },
    Endpoint {
        method: "POST",
        path: "/api/v1/upstreams/{upstream}/backends/{backend}/disable",
        summary: "takes a backend out",
        is_open: false,
        about: &backends::STATE,
        answer: Later(|admin, question| Box::pin(backends::disable(admin, question))),
    },
    Endpoint {
        method: "GET",
        path: "/api/v1/config",
        summary: "the configuration file as it is in force",
        is_open: false,
        about: &config::GET,
        answer: Aside(config::get),
    },
    Endpoint {
        method: "PUT",
        path: "/api/v1/config",
        summary: "checks a configuration file, writes it and reloads",
        is_open: false,
        about: &config::PUT,
        answer: Later(|admin, question| Box::pin(config::put(admin, question))),
    },
    Endpoint {
        method: "POST",
        path: "/api/v1/config/check",
        summary: "whether a configuration file is good",
        is_open: false,
        about: &config::CHECK,
        answer: Aside(config::check),
    },
    Endpoint {
        method: "POST",
        path: "/api/v1/config/plan",
        summary: "what a reload would change",
        is_open: false,
        about: &config::PLAN,
        answer: Aside(config::plan),
    },
    Endpoint {
        method: "POST",
        path: "/api/v1/reload",
        summary: "reads the configuration file again",
        is_open: false,
        about: &config::RELOAD,
        answer: Later(|admin, question| Box::pin(config::reload(admin, question))),
    },
    Endpoint {
        method: "POST",
        path: "/api/v1/upgrade",
        summary: "lets the installed program take the place of this one",
        is_open: false,
        about: &upgrade::ABOUT,
        answer: Later(|admin, question| Box::pin(upgrade::post(admin, question))),
    },
    Endpoint {
        method: "GET",
        path: "/api/v1/explain",
        summary: "which route and backend a request would get, and why",
        is_open: false,
        about: &explain::ABOUT,
        answer: Aside(explain::get),
    },
    Endpoint {
        method: "GET",
        path: "/api/v1/connections",
        summary: "who is connected",
        is_open: false,
        about: &connections::ABOUT,
        answer: Later(|admin, question| Box::pin(connections::get(admin, question))),
    },
    Endpoint {
        method: "GET",
        path: "/api/v1/log/level",
        summary: "what is worth a line of the log",
        is_open: false,
        about: &log_level::GET,
        answer: Now(log_level::get),
    },
    Endpoint {
        method: "PUT",
        path: "/api/v1/log/level",
        summary: "changes it until the file says another",
        is_open: false,
        about: &log_level::PUT,
        answer: Now(log_level::put),
    },
];

/// One row of the table of endpoints.
#[derive(Debug)]
pub struct Endpoint {
    /// The method; GET answers HEAD too.
    pub method: &'static str,
    /// The path; `{name}` is any one segment, told to the endpoint as a parameter.
    pub path: &'static str,
    /// What it is for, in a few words.
    pub summary: &'static str,
    /// Whether it answers without the token, to any `Host`: there is nothing to learn from it.
    pub is_open: bool,
    /// What it takes and gives.
    pub about: &'static About,
    /// Makes the answer.
    pub answer: Answer,
}

/// How an answer is made, so that the control loop never stands still for it.
#[derive(Clone, Copy, Debug)]
pub enum Answer {
    /// On the loop: it takes next to no time.
    Now(fn(&Admin, &Question) -> Reply),
    /// On a thread beside it, so many at a time: it takes time.
    Aside(fn(&Admin, &Question) -> Reply),
    /// On the loop: it waits for others.
    Later(fn(Arc<Admin>, Question) -> Pending),
}

/// An answer to come.
pub type Pending = Pin<Box<dyn Future<Output = Reply>>>;

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

impl Endpoint {
    /// The parameters in `path`, decoded, when it is this endpoint's.
    fn parameters(&self, path: &str) -> Option<Vec<String>> {
        let mut parameters = Vec::new();
        let mut given = path.split('/');
        for own in self.path.split('/') {
            let given = given.next()?;
            if own.starts_with('{') {
                parameters.push(decode(given)?);
            } else if own != given {
                return None;
            }
        }
        given.next().is_none().then_some(parameters)
    }

    fn takes(&self, method: &str) -> bool {
        method == self.method || (method == "HEAD" && self.method == "GET")
    }
}

/// What the endpoints tell of, and change.
#[derive(Debug)]
pub struct Admin {
    shared: Arc<Shared>,
    access: ArcSwap<Access>,
    reloader: Reloader,
    mailboxes: Mailboxes,
    tickets: Arc<Tickets>,
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
    pub fn new(
        shared: Arc<Shared>,
        access: Access,
        reloader: Reloader,
        mailboxes: Mailboxes,
        tickets: Arc<Tickets>,
    ) -> Self {
        Self {
            shared,
            access: ArcSwap::from_pointee(access),
            reloader,
            mailboxes,
            tickets,
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
    fn find(&self, head: &Parts) -> Checked<(&'static Endpoint, Question)> {
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
            false => question::query(endpoint.about, head.uri.query().unwrap_or_default())?,
        };
        let if_match = head.headers.get(header::IF_MATCH);
        let if_match = if_match.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        Ok((endpoint, Question { parameters, query, if_match, ..Question::default() }))
    }

    /// Has the endpoint answer.
    async fn answer(self: Arc<Self>, endpoint: &'static Endpoint, question: Question) -> Reply {
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
        answer: fn(Arc<Self>, Question) -> Pending,
        question: Question,
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
