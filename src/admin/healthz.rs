//! `GET /healthz`: the process lives and its control loop turns.

use http::StatusCode;

use super::{
    Admin, Question,
    reply::{Reply, text},
};

pub(super) fn get(_: &Admin, _: &Question) -> Reply {
    text(StatusCode::OK, "ok\n")
}
