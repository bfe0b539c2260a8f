//! `POST /api/v1/upgrade`: the installed program takes the place of this one.
//!
//! Next stop: [`crate::reload::upgrade`]. The answer comes from the program that goes, once the next one
//! serves.

use std::sync::Arc;

use http::StatusCode;
use serde_json::json;

use super::{
    Admin, Params,
    reply::{self, Reply, failed},
    spec::{ResponseSpec, Spec, count, object},
};
use crate::reload::Failed;

/// What it gives.
pub(super) const ABOUT: Spec = Spec {
    gives: &[ResponseSpec::json("the process that serves from now on", || object(json!({"pid": count()})))],
    errors: &[409],
    is_change: true,
    ..Spec::PLAIN
};

pub(super) async fn post(admin: Arc<Admin>, _: Params) -> Reply {
    match admin.reloader.upgrade().await {
        Ok(pid) => reply::json(StatusCode::OK, &json!({"pid": pid})),
        Err(refusal) => failed(&Failed::Refused(refusal)),
    }
}
