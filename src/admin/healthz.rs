//! `GET /healthz`: the process lives and its control loop turns.

use http::StatusCode;

use super::{
    Admin, Params,
    reply::{Reply, text},
    spec::{ResponseSpec, Spec},
};

/// What it gives.
pub(super) const ABOUT: Spec =
    Spec { gives: &[ResponseSpec::text(200, "it is alive", "text/plain; charset=utf-8")], ..Spec::PLAIN };

pub(super) fn get(_: &Admin, _: &Params) -> Reply {
    text(StatusCode::OK, "ok\n")
}
