//! `GET /healthz`: the process lives and its control loop turns.

use http::StatusCode;

use super::{
    Admin, Question,
    about::{About, Gives},
    reply::{Reply, text},
};

/// What it gives.
pub(super) const ABOUT: About =
    About { gives: &[Gives::text(200, "it lives", "text/plain; charset=utf-8")], ..About::PLAIN };

pub(super) fn get(_: &Admin, _: &Question) -> Reply {
    text(StatusCode::OK, "ok\n")
}
