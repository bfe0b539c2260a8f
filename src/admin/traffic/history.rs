//! `GET /api/v1/traffic/history`: the totals of the last ten minutes, for who has only just begun to look.
//!
//! The control side takes them every five seconds from what is counted anyway; requests pay nothing. They are kept
//! for this program alone: the next one begins its own.

use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};

use super::super::{
    Admin, Params,
    reply::{self, Reply},
    spec::{ResponseSpec, Spec, array, count, object},
    totals::{Totals, schema as totals},
};
use crate::moment::Moment;

/// Seconds between two samples.
const SECONDS: u64 = 5;
/// The time between two samples.
pub const EVERY: Duration = Duration::from_secs(SECONDS);

/// What it gives.
pub(in crate::admin) const ABOUT: Spec =
    Spec { gives: &[ResponseSpec::json("the totals, oldest first", schema)], ..Spec::PLAIN };

fn schema() -> Value {
    object(json!({"every_seconds": count(), "samples": array(object(totals()))}))
}

impl Admin {
    /// Takes the totals of this moment; to be called every [`EVERY`].
    pub fn note_traffic(&self) {
        let uptime = Moment::now().since(self.started).as_secs();
        self.history.push(Totals::of(&self.shared.registry, uptime));
    }
}

pub(in crate::admin) fn get(admin: &Admin, _: &Params) -> Reply {
    let history = json!({"every_seconds": SECONDS, "samples": admin.history.to_json()});
    reply::json(StatusCode::OK, &history)
}
