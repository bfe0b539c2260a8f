//! Changes of backends: `POST /api/v1/upstreams/{upstream}/backends`, and below it `PATCH`, `DELETE`,
//! `drain`, `enable` and `disable`. Each is an override, or with `?persist=true` an edit of the file.
//!
//! Next stop: [`crate::reload::Reloader::change`], which makes the next generation or refuses.

use std::sync::Arc;

use http::StatusCode;
use serde_json::{Value, json};

use super::{
    Admin,
    params::{Checked, Params, unprocessable},
    reply::{self, Reply, failed},
    spec::{Body, LOCAL, PERSIST, ResponseSpec, Spec, object, reference},
    upstreams,
};
use crate::{
    reload::Outcome,
    runtime::overrides::Change,
    schema::Value as _,
    upstream::conf::{BackendConf, BackendState},
};

/// Of `drain`, `enable` and `disable`.
pub(super) const STATE: Spec = Spec {
    parameters: &[PERSIST, LOCAL],
    gives: &[ResponseSpec::json("the backend as it is now", changed_schema)],
    errors: &[404, 409, 422],
    is_change: true,
    is_shared: true,
    ..Spec::PLAIN
};

/// Of `PATCH`.
pub(super) const PATCH: Spec = Spec { body: Body::Json(patch_schema), ..STATE };

/// Of `DELETE`.
pub(super) const REMOVE: Spec =
    Spec { gives: &[ResponseSpec::json("the backend as it was", changed_schema)], ..STATE };

/// Of the `POST` that adds one.
pub(super) const ADD: Spec = Spec {
    body: Body::Json(BackendConf::schema),
    gives: &[ResponseSpec {
        status: 201,
        ..ResponseSpec::json("the backend that was added", changed_schema)
    }],
    ..STATE
};

/// A backend, and the generation that has it so.
pub(super) fn changed_schema() -> Value {
    object(upstreams::properties(json!({"generation": {"type": "integer", "minimum": 1}})))
}

fn patch_schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "weight": {
                "type": "integer", "minimum": 0, "maximum": BackendConf::GREATEST_WEIGHT,
                "description": "share of requests; 0 = nothing new",
            },
            "state": reference("BackendState"),
        },
        "additionalProperties": false,
        "minProperties": 1,
        "examples": [{"weight": 3}],
    })
}

pub(super) async fn drain(admin: Arc<Admin>, question: Params) -> Reply {
    set_state(admin, question, BackendState::Draining).await
}

pub(super) async fn enable(admin: Arc<Admin>, question: Params) -> Reply {
    set_state(admin, question, BackendState::Enabled).await
}

pub(super) async fn disable(admin: Arc<Admin>, question: Params) -> Reply {
    set_state(admin, question, BackendState::Disabled).await
}

async fn set_state(admin: Arc<Admin>, question: Params, state: BackendState) -> Reply {
    let (upstream, backend) = called(&question);
    make(&admin, &question, vec![Change::State { upstream, backend, state }]).await
}

pub(super) async fn patch(admin: Arc<Admin>, question: Params) -> Reply {
    match wanted(&question) {
        Ok(changes) => make(&admin, &question, changes).await,
        Err(refusal) => *refusal,
    }
}

/// The changes that a `PATCH` asks for.
fn wanted(question: &Params) -> Checked<Vec<Change>> {
    let body = question.object(&["weight", "state"])?;
    let mut changes = Vec::new();
    if let Some(given) = body.get("weight") {
        let most = BackendConf::GREATEST_WEIGHT;
        let weight = whole(given).and_then(|weight| u32::try_from(weight).ok()).filter(|it| *it <= most);
        let Some(weight) = weight else {
            let message = format!("`weight` must be a number from 0 to {most}, not {given}");
            return Err(Box::new(unprocessable("bad_weight", &message, "weights are relative: 1, 2, 3")));
        };
        let (upstream, backend) = called(question);
        changes.push(Change::Weight { upstream, backend, weight });
    }
    if let Some(given) = body.get("state") {
        let name = given.as_str().unwrap_or_default();
        let Some((state, ..)) = BackendState::ALL.iter().find(|(_, known, _)| *known == name) else {
            let message = format!("`state` must be {}, not {given}", BackendState::kind());
            return Err(Box::new(unprocessable("bad_state", &message, "or use POST …/drain")));
        };
        let (upstream, backend) = called(question);
        changes.push(Change::State { upstream, backend, state: *state });
    }
    match changes.is_empty() {
        false => Ok(changes),
        true => {
            Err(Box::new(unprocessable("nothing_to_do", "the body changes nothing", "send {\"weight\": 3}")))
        }
    }
}

/// A number without a fraction; JSON Schema takes 3.0 for one.
fn whole(given: &Value) -> Option<u64> {
    given.as_u64().or_else(|| {
        let number = given.as_f64().filter(|number| number.fract() == 0.0 && (0.0..1e9).contains(number))?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "without a fraction, and in the range"
        )]
        let number = number as u64;
        Some(number)
    })
}

pub(super) async fn add(admin: Arc<Admin>, question: Params) -> Reply {
    let json: Value = match question.object(KEYS) {
        Ok(object) => object.into(),
        Err(refusal) => return *refusal,
    };
    let backend = match BackendConf::from_json(&json, &admin.reloader.in_force().path) {
        Ok(backend) => backend,
        Err(problems) => {
            let messages: Vec<String> = problems.0.iter().map(|problem| problem.message.clone()).collect();
            let hint = problems.0.iter().find_map(|problem| problem.hint.clone());
            let hint = hint.as_deref().unwrap_or("send {\"address\": \"10.0.0.1:8080\"}");
            return unprocessable("bad_backend", &messages.join("; "), hint);
        }
    };
    let (upstream, address) = (question.parameter(0).to_owned(), backend.address.to_string());
    let change = Change::Add { upstream: upstream.clone(), backend };
    match admin.reloader.change(vec![change], question.flag(PERSIST.name)).await {
        Ok(outcome) => backend_reply(&admin, &upstream, &address, &outcome, StatusCode::CREATED),
        Err(why) => failed(&why),
    }
}

/// The keys of a backend, in the order of its rows; a test compares.
const KEYS: &[&str] = &["name", "address", "addresses", "weight", "max_connections", "backup", "state"];

pub(super) async fn remove(admin: Arc<Admin>, question: Params) -> Reply {
    let (upstream, backend) = called(&question);
    let before = upstreams::backend(&admin, &upstream, &backend);
    let change = Change::Remove { upstream, backend };
    match (admin.reloader.change(vec![change], question.flag(PERSIST.name)).await, before) {
        (Ok(outcome), Some(before)) => reply::json(StatusCode::OK, &with_generation(before, &outcome)),
        (Ok(_), None) => gone(),
        (Err(why), _) => failed(&why),
    }
}

/// Upstream and backend that the path names.
fn called(question: &Params) -> (String, String) {
    (question.parameter(0).to_owned(), question.parameter(1).to_owned())
}

async fn make(admin: &Admin, question: &Params, changes: Vec<Change>) -> Reply {
    let (upstream, backend) = called(question);
    match admin.reloader.change(changes, question.flag(PERSIST.name)).await {
        Ok(outcome) => backend_reply(admin, &upstream, &backend, &outcome, StatusCode::OK),
        Err(why) => failed(&why),
    }
}

fn backend_reply(
    admin: &Admin,
    upstream: &str,
    backend: &str,
    outcome: &Outcome,
    status: StatusCode,
) -> Reply {
    match upstreams::backend(admin, upstream, backend) {
        Some(found) => reply::json(status, &with_generation(found, outcome)),
        None => gone(),
    }
}

/// Somebody else was quicker: it was changed, and is not there any more.
fn gone() -> Reply {
    let hint = "GET /api/v1/upstreams lists what is there now";
    let message = "the backend was changed, and then removed by someone else";
    reply::error(StatusCode::CONFLICT, "changed_meanwhile", message, hint)
}

fn with_generation(mut backend: Value, outcome: &Outcome) -> Value {
    if let Some(object) = backend.as_object_mut() {
        object.insert("generation".to_owned(), outcome.generation.into());
    }
    backend
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Section;

    fn ask(body: &'static str) -> Result<Vec<Change>, (u16, String)> {
        let parameters = vec!["u".to_owned(), "b".to_owned()];
        let question = Params { parameters, body: body.into(), ..Params::default() };
        wanted(&question).map_err(|reply| (reply.status().as_u16(), format!("{:?}", reply.body())))
    }

    #[test]
    fn a_patch_changes_weight_and_state_and_nothing_else() {
        let (upstream, backend) = ("u".to_owned(), "b".to_owned());
        let weight = Change::Weight { upstream: upstream.clone(), backend: backend.clone(), weight: 3 };
        let state = Change::State { upstream, backend, state: BackendState::Draining };
        assert_eq!(ask("{\"weight\": 3}").unwrap(), std::slice::from_ref(&weight));
        assert_eq!(ask("{\"state\": \"draining\", \"weight\": 3.0}").unwrap(), [weight, state]);
        for (bad, status, why) in [
            ("{}", 422, "changes nothing"),
            ("{\"weight\": -1}", 422, "from 0 to 65535"),
            ("{\"weight\": 65536}", 422, "from 0 to 65535"),
            ("{\"weight\": 1.5}", 422, "from 0 to 65535"),
            ("{\"weight\": \"3\"}", 422, "from 0 to 65535"),
            ("{\"weight\": null}", 422, "from 0 to 65535"),
            ("{\"weight\": true}", 422, "from 0 to 65535"),
            ("{\"state\": \"drain\"}", 422, "`enabled`, `draining` or `disabled`"),
            ("{\"state\": null}", 422, "`enabled`"),
            ("{\"address\": \"127.0.0.1:1\"}", 422, "unknown key"),
            ("{\"weight\": 1", 400, "line 1"),
        ] {
            let (given, text) = ask(bad).unwrap_err();
            assert!(given == status && text.contains(why), "{bad}: {given} {text}");
        }
    }

    #[test]
    fn the_keys_are_those_of_the_rows() {
        let rows: Vec<_> = <BackendConf as Section>::rows().iter().map(|row| row.key.name).collect();
        assert_eq!(rows, KEYS);
    }
}
