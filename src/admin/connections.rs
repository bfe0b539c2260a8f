//! `GET /api/v1/connections`: who is connected. Each worker is asked, and answers between two events. `DELETE
//! /api/v1/connections/{id}` ends one.

use std::{sync::Arc, time::Duration};

use http::StatusCode;
use serde_json::{Value, json};
use tokio::{sync::oneshot, time::timeout};

use super::{
    Admin, Params,
    reply::{self, Reply},
    spec::{Kind, Parameter, Place, ResponseSpec, Spec, array, count, object, text},
};
use crate::{
    listen::mailbox::Message,
    moment::Moment,
    runtime::{
        Snapshot,
        connections::{ConnectionId, Description, Speaks},
    },
};

/// Most connections that are listed one by one.
const MOST: u64 = 1000;
/// How many are listed when nobody says.
const SOME: u64 = 100;
/// How long a worker has to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// What it takes and gives.
pub(super) const ABOUT: Spec = Spec {
    parameters: &[Parameter {
        name: "limit",
        what: "how many connections to list; 100 by default",
        place: Place::Query,
        kind: Kind::Count(1, MOST),
    }],
    gives: &[ResponseSpec::json("open connections, and UDP sessions", schema)],
    ..Spec::PLAIN
};

fn schema() -> Value {
    let connection = object(json!({
        "id": {"type": ["string", "null"], "description": "for closing it; null for UDP and QUIC sessions"},
        "listener": {"type": ["string", "null"], "description": "null if a reload removed the listener"},
        "client": {"type": ["string", "null"], "description": "null until it is known"},
        "protocol": {"enum": [null, "http/1.1", "h2", "tunnel", "tcp", "tls", "udp", "quic"]},
        "tls": {"type": ["string", "null"]},
        "server_name": {"type": ["string", "null"], "description": "from the ClientHello of a forwarded connection"},
        "upstream": {"type": ["string", "null"], "description": "of a forwarded connection"},
        "backend": {"type": ["string", "null"], "description": "of a forwarded connection"},
        "bytes_in": {"type": ["integer", "null"], "description": "forwarded from the client so far"},
        "bytes_out": {"type": ["integer", "null"], "description": "forwarded to the client so far"},
        "age_seconds": {"type": "number", "minimum": 0},
        "worker": count(),
    }));
    object(json!({
        "total": count(),
        "connections": array(connection),
        "silent_workers": {"type": "array", "items": count(), "description": "workers that did not answer"},
    }))
}

pub(super) async fn get(admin: Arc<Admin>, question: Params) -> Reply {
    let most = question.count("limit").unwrap_or(SOME).min(MOST) as usize;
    let ask = |worker| {
        let (answer, answered) = oneshot::channel();
        // A worker that has ended has no connection.
        let _ = admin.mailboxes.send(worker, Message::Describe(most, answer));
        answered
    };
    // All are asked before the first is waited for.
    let asked: Vec<_> = (0..admin.mailboxes.workers()).map(ask).collect();
    let (snapshot, now) = (admin.shared.snapshot.load_full(), Moment::now());
    let (mut all, mut silent, mut total) = (Vec::new(), Vec::new(), 0);
    for (worker, answered) in asked.into_iter().enumerate() {
        let Ok(Ok((described, count))) = timeout(PATIENCE, answered).await else {
            silent.push(worker);
            continue;
        };
        total += count;
        all.extend(described.into_iter().map(|it| (worker, it)));
    }
    // The oldest: they are what a drain waits for.
    all.sort_by_key(|(_, it)| it.since);
    let listed: Vec<Value> = all.iter().take(most).map(|it| connection(it, &snapshot, now)).collect();
    let answer = json!({"total": total, "connections": listed, "silent_workers": silent});
    reply::json(StatusCode::OK, &answer)
}

/// What ending one takes and gives. It is no change that a stop forbids: it may be what a drain waits for.
pub(super) const END: Spec = Spec {
    gives: &[ResponseSpec::json("the connection is closed", ended_schema)],
    errors: &[404],
    ..Spec::PLAIN
};

fn ended_schema() -> Value {
    object(json!({"ended": text()}))
}

pub(super) async fn end(admin: Arc<Admin>, question: Params) -> Reply {
    let id: Option<ConnectionId> = question.parameter(0).parse().ok();
    let is_ended = match id {
        None => false,
        Some(ConnectionId { worker, key, serial }) => {
            let (answer, answered) = oneshot::channel();
            let _ = admin.mailboxes.send(worker, Message::EndOne(key, serial, answer));
            timeout(PATIENCE, answered).await.is_ok_and(|answered| answered == Ok(true))
        }
    };
    if !is_ended {
        let message = "there is no such connection, or it has closed";
        let hint = "GET /api/v1/connections lists the open ones, with their ids";
        return reply::error(StatusCode::NOT_FOUND, "not_found", message, hint);
    }
    tracing::info!(connection = question.parameter(0), "a connection was closed");
    reply::json(StatusCode::OK, &json!({"ended": question.parameter(0)}))
}

fn connection((worker, it): &(usize, Description), snapshot: &Snapshot, now: Moment) -> Value {
    let passed = it.passed.as_ref();
    let id = it.id.map(|(key, serial)| ConnectionId { worker: *worker, key, serial }.to_string());
    json!({
        "id": id,
        "listener": snapshot.listener(it.slot).map(|listener| listener.conf.name.as_str()),
        "client": (!it.client.is_empty()).then_some(&it.client),
        "protocol": match it.speaks {
            Speaks::Nothing => None,
            Speaks::Http1 => Some("http/1.1"),
            Speaks::Http2 => Some("h2"),
            Speaks::Tunnel => Some(passed.map_or("tunnel", |passed| passed.protocol)),
            Speaks::Udp => Some(passed.map_or("udp", |passed| passed.protocol)),
        },
        "tls": it.tls,
        "server_name": passed.and_then(|passed| passed.server_name.as_deref()),
        "upstream": passed.and_then(|passed| passed.backend.as_ref()).map(|(upstream, _)| upstream),
        "backend": passed.and_then(|passed| passed.backend.as_ref()).map(|(_, backend)| backend),
        "bytes_in": passed.map(|passed| passed.carried.up),
        "bytes_out": passed.map(|passed| passed.carried.down),
        "age_seconds": now.since(it.since).as_millis() as f64 / 1e3,
        "worker": worker,
    })
}
