//! `GET /api/v1`: the endpoints there are, from their table.

use http::StatusCode;
use serde_json::{Value, json};

use super::{
    Endpoint,
    reply::{self, Reply},
    spec::{ResponseSpec, Spec, array, object, text},
};

/// What it gives.
pub(super) const ABOUT: Spec = Spec { gives: &[ResponseSpec::json("every endpoint", schema)], ..Spec::PLAIN };

fn schema() -> Value {
    let endpoint = object(json!({"method": text(), "path": text(), "summary": text()}));
    object(json!({"version": text(), "endpoints": array(endpoint)}))
}

pub(super) fn get(endpoints: &[Endpoint]) -> Reply {
    let row = |endpoint: &Endpoint| json!({"method": endpoint.method, "path": endpoint.path, "summary": endpoint.summary});
    let endpoints: Vec<Value> = endpoints.iter().map(row).collect();
    reply::json(StatusCode::OK, &json!({"version": env!("CARGO_PKG_VERSION"), "endpoints": endpoints}))
}
