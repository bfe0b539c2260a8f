//! `GET /api/v1/explain`: which route and backend a request would get in the running generation, and why; where a
//! cache is before them, what it has stored for the request.

use std::net::{IpAddr, Ipv4Addr};

use http::StatusCode;
use serde_json::{Value, json};

use super::{
    Admin, Params,
    reply::{self, Reply, error},
    spec::{Kind, Parameter, Place, ResponseSpec, Spec, array, object, text},
};
use crate::explain::{self, Answer};

const fn parameter(name: &'static str, what: &'static str, kind: Kind) -> Parameter {
    Parameter { name, what, place: Place::Query, kind }
}

/// What it takes and gives.
pub(super) const ABOUT: Spec = Spec {
    parameters: &[
        parameter("method", "the request's method; GET by default", Kind::Text("^[A-Za-z-]{1,32}$")),
        parameter(
            "url",
            "the request's URL; only a path asks every HTTP listener, and tcp://host, tls://name and \
             quic://name stand for layer 4 connections",
            Kind::Needed("^[!-~]{1,8192}$"),
        ),
        parameter("from", "the client's address; 127.0.0.1 by default", Kind::Address),
        parameter("http2", "whether the client uses HTTP/2", Kind::Flag),
        parameter(
            "header",
            "a header of the request, as `Name: value`",
            Kind::Many("^[A-Za-z0-9-]+:[ -~]*$"),
        ),
    ],
    gives: &[ResponseSpec::json("what each listener would do", schema)],
    ..Spec::PLAIN
};

fn schema() -> Value {
    let considered = object(json!({"route": text(), "verdict": text()}));
    let listener = json!({
        "type": "object",
        "properties": {
            "listener": text(),
            "address": text(),
            "client": text(),
            "considered": array(considered),
            "outcome": {"enum": ["routed", "no-route", "refused", "not-admitted"]},
            "status": {"type": "integer"},
            "why": text(),
            "route": text(),
            "action": {"type": "object", "minProperties": 1, "maxProperties": 1},
            "response_headers": array(text()),
            "filters": array(text()),
            "mirror": {"type": ["object", "null"], "properties": {"upstream": text(), "percent": {"type": "number"}}},
        },
        "required": ["listener", "address", "client", "considered", "outcome"],
        "additionalProperties": false,
    });
    object(json!({"routed": {"type": "boolean"}, "listeners": array(listener)}))
}

pub(super) fn get(admin: &Admin, question: &Params) -> Reply {
    let field = |line: &str| {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        (name.trim().to_owned(), value.trim().to_owned())
    };
    let from = question.text("from").and_then(|from| from.parse().ok());
    let asked = explain::Question {
        method: question.text("method").unwrap_or("GET").to_owned(),
        url: question.text("url").unwrap_or("/").to_owned(),
        fields: question.all("header").map(field).collect(),
        from: from.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        is_http2: question.flag("http2"),
        is_running: true,
    };
    match explain::explain(&admin.shared.snapshot.load(), &asked) {
        Ok(answers) => {
            let listeners: Vec<Value> = answers.iter().map(Answer::to_json).collect();
            let is_routed = answers.iter().any(Answer::has_route);
            reply::json(StatusCode::OK, &json!({"routed": is_routed, "listeners": listeners}))
        }
        Err(why) => error(StatusCode::BAD_REQUEST, "bad_query", &why, "write `url` as a client would"),
    }
}
