//! The admin endpoint: health of the process, metrics, status and upstreams, over HTTP/1.1.
//!
//! Previous stop: [`server`], which accepts and reads requests on the control loop; next stop: the file of
//! an endpoint, by [`ENDPOINTS`]. Nothing here is on the path of proxied requests: it reads counters that
//! have one writer each, at any time.

pub mod access;
pub mod reply;
pub mod server;

mod dashboard;
mod healthz;
mod index;
mod metrics;
mod readyz;
mod status;
mod traffic;
mod upstreams;

use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header, request::Parts};

use self::{
    access::Access,
    reply::{Reply, error},
};
use crate::{config::admin::AdminConf, moment::Moment, reload::Reloader, runtime::worker::Shared};

/// Every endpoint; what is not here is not there. The index is made from it.
pub static ENDPOINTS: &[Endpoint] = &[
    Endpoint {
        method: "GET",
        path: "/",
        summary: "the dashboard, for a browser",
        // It holds no data: it asks for them, and for the token where one is needed.
        is_open: true,
        answer: dashboard::get,
    },
    Endpoint {
        method: "GET",
        path: "/healthz",
        summary: "200 while the process lives",
        is_open: true,
        answer: healthz::get,
    },
    Endpoint {
        method: "GET",
        path: "/readyz",
        summary: "200 while it wants traffic, 503 while it starts or drains",
        is_open: true,
        answer: readyz::get,
    },
    Endpoint {
        method: "GET",
        path: "/metrics",
        summary: "metrics as Prometheus text",
        is_open: false,
        answer: metrics::get,
    },
    Endpoint {
        method: "GET",
        path: "/api/v1",
        summary: "this list of endpoints",
        is_open: false,
        answer: index::get,
    },
    Endpoint {
        method: "GET",
        path: "/api/v1/status",
        summary: "version, uptime, generation, listeners, last reload",
        is_open: false,
        answer: status::get,
    },
    Endpoint {
        method: "GET",
        path: "/api/v1/traffic",
        summary: "totals since the start, and the last errors",
        is_open: false,
        answer: traffic::get,
    },
    Endpoint {
        method: "GET",
        path: "/api/v1/upstreams",
        summary: "every upstream with its backends",
        is_open: false,
        answer: upstreams::list,
    },
    Endpoint {
        method: "GET",
        path: "/api/v1/upstreams/{upstream}",
        summary: "one upstream with its backends",
        is_open: false,
        answer: upstreams::get,
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
    /// Makes the answer. It must not wait: the control loop would.
    pub answer: fn(&Admin, &Question) -> Reply,
}

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

/// What an endpoint is asked.
#[derive(Debug, Default)]
pub struct Question {
    /// What stands for the `{…}` of its path.
    pub parameters: Vec<String>,
    /// The query as sent, without the question mark.
    pub query: String,
    /// The body.
    pub body: Bytes,
}

/// What the endpoints tell of.
#[derive(Debug)]
pub struct Admin {
    shared: Arc<Shared>,
    access: ArcSwap<Access>,
    reloader: Reloader,
    started: Moment,
}

impl Admin {
    /// To be made once the snapshot is there.
    pub fn new(shared: Arc<Shared>, access: Access, reloader: Reloader) -> Self {
        Self { shared, access: ArcSwap::from_pointee(access), reloader, started: Moment::now() }
    }

    /// Takes over who may ask from another configuration. A token that cannot be read leaves the old one.
    pub fn set_access(&self, conf: Option<&AdminConf>) {
        match conf.map(Access::new) {
            Some(Ok(access)) => self.access.store(Arc::new(access)),
            Some(Err(error)) => tracing::error!("{error}; the token that was read before holds"),
            None => {}
        }
    }

    /// Which endpoint is to answer, with what stands in the path; or the refusal.
    fn find(&self, head: &Parts) -> Result<(&'static Endpoint, Question), Box<Reply>> {
        let (path, method) = (head.uri.path(), head.method.as_str());
        let here: Vec<_> = ENDPOINTS.iter().filter_map(|it| Some((it, it.parameters(path)?))).collect();
        if here.is_empty() || here.iter().any(|(endpoint, _)| !endpoint.is_open) {
            self.access.load().check(head)?;
        }
        let allowed = here.iter().map(|(endpoint, _)| endpoint.method).collect::<Vec<_>>();
        let Some((endpoint, parameters)) = here.into_iter().find(|(it, _)| it.takes(method)) else {
            return Err(Box::new(no_endpoint(method, path, &allowed)));
        };
        let query = head.uri.query().unwrap_or_default().to_owned();
        Ok((endpoint, Question { parameters, query, body: Bytes::new() }))
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

/// A path segment with its percent-encoding undone; `None` when it is broken.
fn decode(segment: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        bytes.push(match byte {
            b'%' => {
                let (digits, after) = rest.split_at_checked(2)?;
                rest = after;
                let digit = |byte: u8| char::from(byte).to_digit(16);
                let &[high, low] = digits else { return None };
                u8::try_from(digit(high)? * 16 + digit(low)?).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
pub(crate) mod tests;
