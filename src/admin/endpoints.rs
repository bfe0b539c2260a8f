//! The table of endpoints, closed: routing, the index, the OpenAPI description and the documentation are made
//! from it.
//!
//! Previous stop: [`super::Admin`], which looks a request up here. Next stop: the file of an endpoint.

use std::{pin::Pin, sync::Arc};

use super::{
    Admin, backends, caches, config, connections, dashboard, explain, healthz, index, log_level, metrics,
    openapi,
    params::{Params, decode},
    purge, readyz,
    reply::Reply,
    spec::Spec,
    status, traffic, upgrade, upstreams,
};
use Answer::{Aside, Later, Now};

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
        path: "/api/v1/caches",
        summary: "what each cache holds, and how it answered",
        is_open: false,
        about: &caches::LIST,
        answer: Aside(caches::list),
    },
    Endpoint {
        method: "POST",
        path: "/api/v1/caches/{cache}/purge",
        summary: "takes out what is stored of a URL, a prefix, a tag or everything, or makes it stale",
        is_open: false,
        about: &purge::ABOUT,
        answer: Aside(purge::post),
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
        summary: "which route, cache and backend a request would get, and why",
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
    pub about: &'static Spec,
    /// Makes the answer.
    pub answer: Answer,
}

/// How an answer is made, so that the control loop never stands still for it.
#[derive(Clone, Copy, Debug)]
pub enum Answer {
    /// On the loop: it takes next to no time.
    Now(fn(&Admin, &Params) -> Reply),
    /// On a thread beside it, so many at a time: it takes time.
    Aside(fn(&Admin, &Params) -> Reply),
    /// On the loop: it waits for others.
    Later(fn(Arc<Admin>, Params) -> Pending),
}

/// An answer to come.
pub type Pending = Pin<Box<dyn Future<Output = Reply>>>;

impl Endpoint {
    /// The parameters in `path`, decoded, when it is this endpoint's.
    pub(super) fn parameters(&self, path: &str) -> Option<Vec<String>> {
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

    pub(super) fn takes(&self, method: &str) -> bool {
        method == self.method || (method == "HEAD" && self.method == "GET")
    }
}
