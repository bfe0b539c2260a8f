//! `GET /api/v1`: the endpoints there are, from their table.

use http::StatusCode;
use serde_json::{Value, json};

use super::{
    Admin, ENDPOINTS, Question,
    about::{About, Gives, array, object, text},
    reply::{self, Reply},
};

/// What it gives.
pub(super) const ABOUT: About = About { gives: &[Gives::json("every endpoint", schema)], ..About::PLAIN };

fn schema() -> Value {
    let endpoint = object(json!({"method": text(), "path": text(), "summary": text()}));
    object(json!({"version": text(), "endpoints": array(endpoint)}))
}

pub(super) fn get(_: &Admin, _: &Question) -> Reply {
    let row = |endpoint: &super::Endpoint| json!({"method": endpoint.method, "path": endpoint.path, "summary": endpoint.summary});
    let endpoints: Vec<Value> = ENDPOINTS.iter().map(row).collect();
    reply::json(StatusCode::OK, &json!({"version": env!("CARGO_PKG_VERSION"), "endpoints": endpoints}))
}
