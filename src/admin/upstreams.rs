//! `GET /api/v1/upstreams` and `/{upstream}`: each backend's state and traffic, summed over workers.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::{
    Admin, Params,
    reply::{self, Reply, error},
    spec::{ResponseSpec, Spec, array, count, object, reference, text},
};
use crate::{
    backend::{self, Address, Backend, WEIGHT_UNIT},
    balance::BackendStats,
    moment::Moment,
    runtime::overrides::{Line, position},
    telemetry::recent_latency::Window,
    upstream::{Upstream, conf::BackendConf},
};

/// Of the list.
pub(super) const LIST: Spec = Spec {
    gives: &[ResponseSpec::json("every upstream", || {
        object(json!({"upstreams": array(reference("Upstream"))}))
    })],
    ..Spec::PLAIN
};

/// Of one.
pub(super) const ONE: Spec = Spec {
    gives: &[ResponseSpec::json("the upstream", || reference("Upstream"))],
    errors: &[404],
    ..Spec::PLAIN
};

/// The schema of an upstream.
pub(super) fn schema() -> Value {
    object(
        json!({"name": text(), "balance": text(), "protocol": text(), "backends": array(reference("Backend"))}),
    )
}

/// The schema's properties of a backend, and these.
pub(super) fn properties(more: Value) -> Value {
    let mut all = json!({
        "name": text(),
        "address": text(),
        "weight": {"type": "integer", "minimum": 0},
        "state": {"enum": ["up", "down", "ejected", "draining", "disabled"]},
        "why": text(),
        "in_flight": count(),
        "requests": count(),
        "failures": count(),
        "ewma_ms": {"type": ["number", "null"], "description": "the average that least-response-time uses: it follows slow responses at once, and decays while there are no requests"},
        "latency": {
            "type": "object",
            "description": "recent times to the response head; null if there were none",
            "properties": {"last_10s": latency(), "last_60s": latency()},
            "required": ["last_10s", "last_60s"],
            "additionalProperties": false,
        },
        "bytes_per_second": count(),
        "override": {
            "type": ["object", "null"],
            "description": "keys changed through the admin API: the file's value (base), and the one in use (value)",
            "additionalProperties": object(json!({"base": true, "value": true})),
        },
    });
    if let (Some(all), Value::Object(more)) = (all.as_object_mut(), more) {
        all.extend(more);
    }
    all
}

pub(super) fn list(admin: &Admin, _: &Params) -> Reply {
    let (snapshot, overrides) = (admin.shared.snapshot.load(), lines(admin));
    let now = Moment::now();
    let all: Vec<Value> = snapshot.upstreams.iter().map(|it| upstream(it, &overrides, now)).collect();
    reply::json(StatusCode::OK, &json!({"upstreams": all}))
}

pub(super) fn get(admin: &Admin, question: &Params) -> Reply {
    let name = question.parameter(0);
    let snapshot = admin.shared.snapshot.load();
    match snapshot.upstreams.iter().find(|upstream| upstream.conf.name == name) {
        Some(found) => reply::json(StatusCode::OK, &upstream(found, &lines(admin), Moment::now())),
        None => {
            let message = format!("there is no upstream `{name}`");
            let hint = "GET /api/v1/upstreams lists them";
            error(StatusCode::NOT_FOUND, "no_such_upstream", &message, hint)
        }
    }
}

/// One backend of the running generation, called by its name or its address; of a name with several addresses the first
/// of them.
pub(super) fn backend(admin: &Admin, upstream: &str, called: &str) -> Option<Value> {
    let snapshot = admin.shared.snapshot.load();
    let upstream = snapshot.upstreams.iter().find(|it| it.conf.name == upstream)?;
    let is_of = |it: &BackendConf| {
        let name = it.name.rsplit_once('@').map(|(name, _)| name);
        matches!(it.address, Address::OfName { .. })
            && (name == Some(called) || it.address.configured() == called)
    };
    let backends = &upstream.conf.backend;
    let index = position(backends, called).or_else(|| backends.iter().position(is_of))?;
    let backend = upstream.backends.get(index)?;
    Some(backend_json(upstream, (index, backend), &lines(admin), Moment::now()))
}

/// What administrators changed, by upstream and address.
type Lines = HashMap<(String, String), Vec<Line>>;

fn lines(admin: &Admin) -> Lines {
    let mut all = Lines::new();
    for line in admin.reloader.in_force().overrides.lines() {
        all.entry((line.upstream.clone(), line.address.clone())).or_default().push(line);
    }
    all
}

fn upstream(upstream: &Upstream, overrides: &Lines, now: Moment) -> Value {
    let backends = upstream.backends.iter().enumerate();
    let backends: Vec<Value> = backends.map(|it| backend_json(upstream, it, overrides, now)).collect();
    let name = &*upstream.conf.name;
    let (balance, protocol) = (upstream.conf.balance.name(), upstream.conf.protocol.name());
    json!({"name": name, "balance": balance, "protocol": protocol, "backends": backends})
}

fn backend_json(
    upstream: &Upstream,
    (index, it): (usize, &Arc<Backend>),
    overrides: &Lines,
    now: Moment,
) -> Value {
    let rows = upstream.own.iter().filter_map(|own| Some(&*own.get(index)?.row));
    let Sum { requests, failures, average_ms, bandwidth } = Sum::over(rows, now);
    let state = State::of(it, now);
    let address = it.address.to_string();
    // What is said of a name holds for its addresses; what is said of one of them goes before it.
    let of = |address: String| overrides.get(&(upstream.conf.name.clone(), address)).into_iter().flatten();
    let lines = of(it.address.configured()).chain(of(address.clone()));
    let pair = |line: &Line| (line.key.to_owned(), json!({"base": line.base, "value": line.value}));
    let changed: Map<_, _> = lines.map(pair).collect();
    let changed = (!changed.is_empty()).then_some(changed);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a float beyond the range becomes its end"
    )]
    let bytes_per_second = bandwidth.round() as u64;
    json!({
        "name": &*it.name,
        "address": address,
        "weight": it.full_weight() / WEIGHT_UNIT,
        "state": state.name(),
        "why": &*why(it, state, changed.as_ref()),
        "in_flight": it.in_flight(),
        "requests": requests,
        "failures": failures,
        "ewma_ms": average_ms.map(hundredths),
        "latency": {
            "last_10s": it.shared.latency.window(1).map(window_json),
            "last_60s": it.shared.latency.window(6).map(window_json),
        },
        "bytes_per_second": bytes_per_second,
        "override": changed,
    })
}

/// The schema of a stretch of time.
fn latency() -> Value {
    let number = || json!({"type": "number", "minimum": 0});
    json!({
        "type": ["object", "null"],
        "properties": {"count": count(), "mean_ms": number(), "p50_ms": number(), "p99_ms": number()},
        "required": ["count", "mean_ms", "p50_ms", "p99_ms"],
        "additionalProperties": false,
    })
}

fn window_json(window: Window) -> Value {
    let Window { count, mean_ms, p50_ms, p99_ms } = window;
    let [mean_ms, p50_ms, p99_ms] = [mean_ms, p50_ms, p99_ms].map(hundredths);
    json!({"count": count, "mean_ms": mean_ms, "p50_ms": p50_ms, "p99_ms": p99_ms})
}

/// More digits than anyone can use.
fn hundredths(milliseconds: f64) -> f64 {
    (milliseconds * 100.0).round() / 100.0
}

/// Measurements of a backend over all workers.
#[derive(Debug, Default, PartialEq)]
struct Sum {
    requests: u64,
    failures: u64,
    /// Mean of the workers' averages, each by its requests; `None` before the first sample.
    average_ms: Option<f64>,
    bandwidth: f64,
}

impl Sum {
    fn over<'a>(workers: impl Iterator<Item = &'a BackendStats>, now: Moment) -> Self {
        let mut sum = Self::default();
        let (mut weighted, mut weights) = (0.0, 0.0);
        for row in workers {
            let requests = row.requests();
            sum.requests += requests;
            sum.failures += row.failures();
            sum.bandwidth += row.bandwidth(now);
            if let Some(average) = row.average(now) {
                // A worker may have taken its average from a generation before, with no request since.
                let weight = requests.max(1) as f64;
                weighted += average.as_secs_f64() * 1e3 * weight;
                weights += weight;
            }
        }
        sum.average_ms = (weights > 0.0).then(|| weighted / weights);
        sum
    }
}

/// A backend's state in one word: what an administrator said goes before what health says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Up,
    Down,
    Ejected,
    Draining,
    Disabled,
}

impl State {
    pub(super) fn of(backend: &Backend, now: Moment) -> Self {
        let admin = backend.shared.admin.load(Relaxed);
        if admin == backend::Admin::Disabled as u8 {
            Self::Disabled
        } else if admin == backend::Admin::Draining as u8 {
            Self::Draining
        } else if !backend.is_probed_up() {
            Self::Down
        } else if !backend.is_healthy(now) {
            Self::Ejected
        } else {
            Self::Up
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Ejected => "ejected",
            Self::Draining => "draining",
            Self::Disabled => "disabled",
        }
    }
}

/// Why it is in that state, for people.
fn why(backend: &Backend, state: State, changed: Option<&Map<String, Value>>) -> Arc<str> {
    match state {
        State::Up | State::Down | State::Ejected => backend.shared.why(),
        State::Draining | State::Disabled => match changed.is_some_and(|keys| keys.contains_key("state")) {
            true => "set via the admin API".into(),
            false => "set in the configuration".into(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_is_what_keeps_traffic_away_first() {
        let backend = Backend {
            name: "a".into(),
            address: backend::Address::Unix("/run/a.sock".into()),
            weight: 1,
            max_connections: 0,
            backup: false,
            slow_start: std::time::Duration::ZERO,
            shared: Arc::default(),
        };
        let now = Moment(5_000_000);
        let state = || State::of(&backend, now).name();
        assert_eq!(state(), "up");
        backend.shared.ejected_until.store(6_000_000, Relaxed);
        assert_eq!(state(), "ejected");
        backend.shared.probed.store(backend::Probed::Down as u8, Relaxed);
        assert_eq!(state(), "down");
        backend.shared.admin.store(backend::Admin::Draining as u8, Relaxed);
        assert_eq!(state(), "draining");
        backend.shared.admin.store(backend::Admin::Disabled as u8, Relaxed);
        assert_eq!(state(), "disabled");
    }
}
