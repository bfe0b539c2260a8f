//! The configuration file: `GET` and `PUT /api/v1/config`, what another one would come to
//! (`/config/check`, `/config/plan`), and `POST /api/v1/reload`.
//!
//! Next stop: [`crate::reload`], which alone writes and publishes.

use std::sync::Arc;

use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};
use tokio::task::spawn_blocking;
use xxhash_rust::xxh3::xxh3_64;

use super::{
    Admin,
    params::{Checked, Params},
    reply::{self, Reply, failed, make, problems},
    spec::{Body, Kind, Parameter, Place, ResponseSpec, Spec, TOML, array, object, reference, text},
};
use crate::{
    config,
    reload::{Cause, Outcome, preview},
};

/// Of `GET`.
pub(super) const GET: Spec = Spec {
    gives: &[ResponseSpec::text(200, "the text of the file, with its hash as `ETag`", TOML)],
    ..Spec::PLAIN
};

/// Of `PUT`.
pub(super) const PUT: Spec = Spec {
    parameters: &[Parameter {
        name: "If-Match",
        what: "the `ETag` from GET; the file is written only if it has not changed since",
        place: Place::Field,
        kind: Kind::Text(""),
    }],
    body: Body::Toml,
    gives: &[ResponseSpec::json("the configuration is in use", outcome_schema)],
    errors: &[409, 412, 422],
    is_change: true,
    ..Spec::PLAIN
};

/// Of the check.
pub(super) const CHECK: Spec = Spec {
    body: Body::TomlOrNothing,
    gives: &[ResponseSpec::json("the configuration is valid", || object(json!({"ok": {"const": true}})))],
    errors: &[422],
    ..Spec::PLAIN
};

/// Of the plan.
pub(super) const PLAN: Spec = Spec {
    body: Body::TomlOrNothing,
    gives: &[ResponseSpec::json("what would change", plan_schema)],
    errors: &[422],
    ..Spec::PLAIN
};

/// Of the reload.
pub(super) const RELOAD: Spec = Spec {
    gives: &[ResponseSpec::json("the file is in use", outcome_schema)],
    errors: &[409, 422],
    is_change: true,
    ..Spec::PLAIN
};

fn outcome_schema() -> Value {
    object(json!({
        "generation": {"type": "integer", "minimum": 1},
        "changed": {"type": "boolean", "description": "false if the files have not changed"},
        "notes": array(json!({"type": "string"})),
    }))
}

fn plan_schema() -> Value {
    let steps = || array(reference("Step"));
    let lines = || array(reference("Override"));
    let overrides = object(json!({"kept": lines(), "dropped": lines()}));
    object(json!({
        "changes": {"type": "boolean"},
        "listeners": steps(),
        "routes": steps(),
        "upstreams": steps(),
        "backends": steps(),
        "caches": steps(),
        "keys": array(text()),
        "next_start": array(text()),
        "files": array(text()),
        "certificates": array(reference("Certificate")),
        "overrides": overrides,
    }))
}

pub(super) fn get(admin: &Admin, _: &Params) -> Reply {
    let text = admin.reloader.in_force().text.clone();
    let tag = tag(&text);
    tagged(make(StatusCode::OK, TOML, text.to_string().into()), &tag)
}

fn tag(text: &str) -> String {
    format!("\"{:016x}\"", xxh3_64(text.as_bytes()))
}

fn tagged(mut reply: Reply, tag: &str) -> Reply {
    if let Ok(tag) = HeaderValue::from_str(tag) {
        reply.headers_mut().insert(header::ETAG, tag);
    }
    reply
}

pub(super) async fn put(admin: Arc<Admin>, question: Params) -> Reply {
    let in_force = admin.reloader.in_force().text.clone();
    // Megabytes are looked at and copied on a thread of their own.
    let looked = spawn_blocking(move || {
        let new: Arc<str> = question.utf8()?.into();
        let matches = question.if_match.as_deref().map_or(Matches::Anything, |it| matches(it, &in_force));
        // With the text goes the place that it has among the large bodies.
        Checked::Ok((tag(&new), new, in_force, matches, question.place))
    });
    let (tag, new, in_force, matches, place) = match looked.await {
        Ok(Ok(looked)) => looked,
        Ok(Err(refusal)) => return *refusal,
        Err(_) => return reply::panicked(),
    };
    let expected = match matches {
        Matches::Anything => None,
        Matches::Exactly => Some(in_force),
        Matches::Nothing => return reply::outdated("the configuration in force is not"),
    };
    let result = admin.reloader.replace(new, expected).await;
    drop(place);
    match result {
        Ok(outcome) => tagged(outcome_reply(&outcome), &tag),
        Err(why) => failed(&why),
    }
}

enum Matches {
    Anything,
    Exactly,
    Nothing,
}

/// RFC 9110 §13.1.1: a list of tags, compared strongly, or `*`.
fn matches(given: &str, text: &str) -> Matches {
    let own = tag(text);
    if given.trim() == "*" {
        Matches::Anything
    } else if given.split(',').any(|tag| tag.trim() == own) {
        Matches::Exactly
    } else {
        Matches::Nothing
    }
}

/// What is to be looked at: the body, or without one the file.
fn given(question: &Params) -> Checked<Option<&str>> {
    match question.body.is_empty() {
        true => Ok(None),
        false => question.utf8().map(Some),
    }
}

pub(super) fn check(admin: &Admin, question: &Params) -> Reply {
    let in_force = admin.reloader.in_force();
    let text = match given(question) {
        Ok(Some(text)) => Ok(text.to_owned()),
        Ok(None) => config::read_text(&in_force.path),
        Err(refusal) => return *refusal,
    };
    let checked = text.and_then(|text| preview::check(&in_force, &text));
    match checked {
        Ok(()) => reply::json(StatusCode::OK, &json!({"ok": true})),
        Err(wrong) => problems(&wrong),
    }
}

pub(super) fn plan(admin: &Admin, question: &Params) -> Reply {
    let text = match given(question) {
        Ok(text) => text,
        Err(refusal) => return *refusal,
    };
    match preview::plan(&admin.reloader.in_force(), text) {
        Ok(plan) => reply::json(StatusCode::OK, &plan.to_json()),
        Err(wrong) => problems(&wrong),
    }
}

pub(super) async fn reload(admin: Arc<Admin>, _: Params) -> Reply {
    match admin.reloader.reload(Cause::Reload).await {
        Ok(outcome) => outcome_reply(&outcome),
        Err(why) => failed(&why),
    }
}

fn outcome_reply(outcome: &Outcome) -> Reply {
    let Outcome { is_changed, generation, notes } = outcome;
    reply::json(StatusCode::OK, &json!({"generation": generation, "changed": is_changed, "notes": notes}))
}
