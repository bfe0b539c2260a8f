//! `GET /readyz`: whether new connections are wanted. Whoever sends them must hear of the end before it
//! comes, so it says 503 from the first moment of draining on, while connections are still accepted.
//!
//! A node that goes on with an older configuration of its fleet serves, and is ready; it says so. Why is for administrators.

use http::StatusCode;

use super::{
    Admin, Params,
    reply::{Reply, text},
    spec::{ResponseSpec, Spec},
};
use crate::runtime::drain::Stage;

/// What it gives.
pub(super) const ABOUT: Spec = Spec {
    gives: &[
        ResponseSpec::text(200, "it accepts traffic", "text/plain; charset=utf-8"),
        ResponseSpec::text(503, "it is starting or draining", "text/plain; charset=utf-8"),
    ],
    ..Spec::PLAIN
};

pub(super) fn get(admin: &Admin, _: &Params) -> Reply {
    // While the workers start there is nobody to answer: the control loop begins after them.
    match admin.shared.drain.stage() {
        Stage::Running if admin.shared.registry.fleet.lock().has_copy() => text(StatusCode::OK, WITH_COPY),
        Stage::Running => text(StatusCode::OK, "ready\n"),
        Stage::Unready | Stage::Draining | Stage::Closing => {
            text(StatusCode::SERVICE_UNAVAILABLE, "draining\n")
        }
    }
}

const WITH_COPY: &str = "ready, with the last good copy of the fleet's configuration\n";
