//! `GET` and `PUT /api/v1/log/level`: what is worth a line of the program's log.

use http::StatusCode;
use serde_json::{Value, json};

use super::{
    Admin, Question,
    about::{About, Body, Gives, object},
    question::unprocessable,
    reply::{self, Reply},
};
use crate::{config::log::LogLevel, settings::Value as _, telemetry::program_log};

/// Of `GET`.
pub(super) const GET: About = About { gives: &[Gives::json("the level", schema)], ..About::PLAIN };

/// Of `PUT`.
pub(super) const PUT: About = About { body: Body::Json(schema), errors: &[422], is_change: true, ..GET };

fn schema() -> Value {
    object(json!({"level": LogLevel::schema()}))
}

pub(super) fn get(admin: &Admin, _: &Question) -> Reply {
    let configured = admin.shared.snapshot.load().config.log.level;
    let filter = program_log::level().unwrap_or(configured.filter());
    let level = LogLevel::ALL.iter().map(|(level, ..)| *level).find(|level| level.filter() == filter);
    reply::json(StatusCode::OK, &json!({"level": level.unwrap_or(configured).name()}))
}

pub(super) fn put(admin: &Admin, question: &Question) -> Reply {
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
    tracing::info!(level = level.name(), "log level");
    get(admin, question)
}
