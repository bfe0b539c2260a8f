//! `GET /api/v1/openapi.json`: the API described in OpenAPI 3.1, made from the table of endpoints, so that it says
//! what is checked and answered.

use std::collections::BTreeSet;

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::{
    Admin, Answer, Endpoint,
    access::Access,
    caches,
    reply::{self, Reply},
    spec::{Body, Parameter, Place, ResponseSpec, Spec, array, object, reference, text},
    upstreams,
};
use crate::{schema::Value as _, upstream::conf::BackendState};

/// What it gives.
pub(super) const ABOUT: Spec =
    Spec { gives: &[ResponseSpec::json("the description", || json!({"type": "object"}))], ..Spec::PLAIN };

pub(super) fn get(admin: &Admin, endpoints: &[Endpoint]) -> Reply {
    let needs_token = !matches!(&**admin.access.load(), Access::Anyone);
    reply::json(StatusCode::OK, &document(endpoints, needs_token))
}

/// The whole description.
pub(super) fn document(endpoints: &[Endpoint], needs_token: bool) -> Value {
    let mut paths = Map::new();
    for endpoint in endpoints {
        let path = paths.entry(endpoint.path).or_insert_with(|| json!({}));
        if let Some(path) = path.as_object_mut() {
            path.insert(endpoint.method.to_ascii_lowercase(), operation(endpoint, needs_token));
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Pointsman's admin API",
            "version": env!("CARGO_PKG_VERSION"),
            "license": {"name": "MIT OR Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": schemas(),
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "the token in `token_file`"},
            },
        },
    })
}

fn operation(endpoint: &Endpoint, needs_token: bool) -> Value {
    let Spec { parameters, body, gives, .. } = endpoint.about;
    let mut all: Vec<Value> = names(endpoint.path).map(path_parameter).collect();
    all.extend(parameters.iter().map(parameter));
    let mut responses = Map::new();
    for given in *gives {
        let content = json!({given.media_type: {"schema": (given.schema)()}});
        responses.insert(given.status.to_string(), json!({"description": given.what, "content": content}));
    }
    for status in errors(endpoint) {
        // One that is given already, such as what /readyz says while it drains, is no error.
        responses.entry(status.to_string()).or_insert_with(|| error(status));
    }
    let mut operation = json!({
        "operationId": id(endpoint),
        "summary": endpoint.summary,
        "parameters": all,
        "responses": responses,
        "security": if needs_token && !endpoint.is_open { json!([{"token": []}]) } else { json!([]) },
    });
    if let (Some(operation), Some(media_type)) = (operation.as_object_mut(), body.media_type()) {
        let (schema, is_required) = match body {
            Body::Json(schema) => (schema(), true),
            Body::None | Body::Toml => (text(), true),
            Body::TomlOrNothing => (text(), false),
        };
        let content = json!({media_type: {"schema": schema}});
        operation.insert("requestBody".to_owned(), json!({"required": is_required, "content": content}));
    }
    operation
}

/// Statuses of everything that may go wrong.
pub(super) fn errors(endpoint: &Endpoint) -> BTreeSet<u16> {
    let about = endpoint.about;
    let mut all: BTreeSet<u16> = [400, 408, 413].into_iter().chain(about.errors.iter().copied()).collect();
    if !endpoint.is_open {
        all.insert(401);
    }
    if about.body.media_type().is_some() {
        all.insert(415);
    }
    if about.is_change || !matches!(endpoint.answer, Answer::Now(_)) {
        // A bug, or a file that cannot be written; too much at once, or the program drains.
        all.extend([500, 503]);
    }
    all
}

fn error(status: u16) -> Value {
    let what = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
    json!({
        "description": what.unwrap_or("an error"),
        "content": {"application/json": {"schema": reference("Error")}},
    })
}

/// The names between braces in a path.
fn names(path: &'static str) -> impl Iterator<Item = &'static str> {
    path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
}

fn path_parameter(name: &str) -> Value {
    let what = match name {
        "backend" => "its name, or its address",
        _ => "its name",
    };
    json!({
        "name": name, "in": "path", "required": true, "description": what,
        "schema": {"type": "string", "minLength": 1},
    })
}

fn parameter(row: &Parameter) -> Value {
    json!({
        "name": row.name,
        "in": match row.place { Place::Query => "query", Place::Field => "header" },
        "required": matches!(row.kind, super::spec::Kind::Needed(_)),
        "description": row.what,
        "schema": row.kind.schema(),
    })
}

/// `getApiV1Upstreams`: from method and path, so that it is one operation's only.
fn id(endpoint: &Endpoint) -> String {
    let words =
        endpoint.path.split(|sign: char| !sign.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.fold(endpoint.method.to_ascii_lowercase(), |id, word| {
        let (first, rest) = word.split_at(1);
        id + &first.to_ascii_uppercase() + rest
    })
}

/// What several endpoints refer to.
fn schemas() -> Value {
    let number = || json!({"type": "integer", "minimum": 0});
    let maybe = || json!({"type": ["string", "null"]});
    let error = json!({
        "type": "object",
        "properties": {
            "code": {"type": "string", "description": "a code for programs"},
            "message": {"type": "string", "description": "what is wrong, for people"},
            "hint": {"type": "string", "description": "what to do about it"},
            "line": number(),
            "column": number(),
        },
        "required": ["code", "message", "hint"],
        "additionalProperties": false,
    });
    json!({
        "Error": {
            "type": "object",
            "properties": {"error": error, "problems": array(reference("Problem"))},
            "required": ["error"],
            "additionalProperties": false,
        },
        "Problem": object(json!({
            "file": text(), "line": number(), "column": number(),
            "message": text(), "hint": maybe(), "source": text(), "width": number(),
        })),
        "Upstream": upstreams::schema(),
        "Cache": caches::schema(),
        "Backend": object(upstreams::properties(json!({}))),
        "BackendState": BackendState::schema(),
        "Override": object(json!({
            "upstream": text(), "backend": text(), "address": text(), "of": maybe(),
            "key": {"enum": ["weight", "state", "added", "removed"]}, "base": true, "value": true,
        })),
        "Step": object(json!({
            "change": {"enum": ["added", "removed", "changed", "moved", "kept"]},
            "name": text(), "keys": array(text()),
        })),
        "Certificate": object(json!({
            "listener": text(), "chain": text(), "names": array(text()), "issuer": maybe(),
            "not_after": maybe(), "days_left": {"type": ["integer", "null"]},
            "new": {"type": "boolean"}, "warning": maybe(),
        })),
    })
}

#[cfg(test)]
mod tests;
