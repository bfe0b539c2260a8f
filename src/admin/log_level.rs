//! `GET` and `PUT /api/v1/log/level`: what is worth a line of the program's log.

use http::StatusCode;
use serde_json::{Value, json};

use super::{
    Admin, Params,
    params::unprocessable,
    reply::{self, Reply},
    spec::{Body, ResponseSpec, Spec, object},
};
use crate::{config::log::LogLevel, schema::Value as _, telemetry::program_log};

/// Of `GET`.
pub(super) const GET: Spec = Spec { gives: &[ResponseSpec::json("the level", schema)], ..Spec::PLAIN };

/// Of `PUT`.
pub(super) const PUT: Spec = Spec { body: Body::Json(schema), errors: &[422], is_change: true, ..GET };

fn schema() -> Value {
    object(json!({"level": LogLevel::schema()}))
}

pub(super) fn get(admin: &Admin, _: &Params) -> Reply {
    let configured = admin.shared.snapshot.load().config.log.level;
    let filter = program_log::level().unwrap_or(configured.filter());
    let level = LogLevel::ALL.iter().map(|(level, ..)| *level).find(|level| level.filter() == filter);
    reply::json(StatusCode::OK, &json!({"level": level.unwrap_or(configured).name()}))
}

pub(super) fn put(admin: &Admin, question: &Params) -> Reply {
    let body = match question.object(&["level"]) {
        Ok(body) => body,
        Err(refusal) => return *refusal,
    };
    let name = body.get("level").and_then(Value::as_str).unwrap_or_default();
    let Some((level, ..)) = LogLevel::ALL.iter().find(|(_, known, _)| *known == name) else {
        let message = format!("`level` must be {}", LogLevel::kind());
        return unprocessable("bad_level", &message, "send {\"level\": \"debug\"}");
    };
    program_log::set_level(level.filter());
    tracing::info!(now = level.name(), "log level");
    get(admin, question)
}
